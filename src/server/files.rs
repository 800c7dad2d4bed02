//! What calls leave on the disk: how their recordings begin, and how the node waits for the last of them.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::node::Node;
use crate::call::event::Start;
use crate::call::settings::Settings as CallSettings;
use crate::driver::{Recording, Recordings};

/// How long the disk may take for what is left when everything else has ended.
const LIMIT: Duration = Duration::from_secs(5);

impl Node {
    /// The recording of a call that begins with `start`, if calls are recorded. A call that is not recorded does not say
    /// that it is.
    pub(super) fn record(&self, settings: &mut CallSettings, start: &Start) -> Option<Recording> {
        let recordings = self.settings().recordings.as_ref();
        let begin = |to: &Arc<Recordings>| to.begin(&start.call, &start.stream, start.inbound, start.outbound);
        let recording = recordings.and_then(begin);
        if recording.is_none() {
            settings.conversation.announcement.clear();
        }
        recording
    }

    /// Waits until the tapes and recordings of calls that are over are on the disk, but not for ever.
    pub(super) async fn finish_files(&self) {
        let tapes = self.settings().tapes.as_ref().map(|tapes| tapes.shelf.clone());
        let recordings = self.settings().recordings.clone();
        let close_tapes = async {
            if let Some(shelf) = tapes {
                finish("tapes", move || shelf.close()).await;
            }
        };
        let close_recordings = async {
            if let Some(recordings) = recordings {
                finish("recordings", move || recordings.close()).await;
            }
        };
        tokio::join!(close_tapes, close_recordings);
    }
}

/// Waits for `close`, but not for ever.
async fn finish(what: &'static str, close: impl FnOnce() + Send + 'static) {
    // A thread of its own: the runtime would wait for one of its threads to the end, and a disk may hang for ever.
    let (done, written) = oneshot::channel();
    let close = move || {
        close();
        let _ = done.send(());
    };
    let closing = std::thread::Builder::new().name(format!("{what}-end")).spawn(close);
    if let Err(error) = closing {
        tracing::warn!(%error, "no thread to wait for the disk: {what} may be cut short");
        return;
    }
    if tokio::time::timeout(LIMIT, written).await.is_err() {
        tracing::warn!("the disk is too slow: {what} are cut short");
    }
}
