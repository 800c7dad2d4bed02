//! How the node stands with those who speak for it.

use std::borrow::Cow;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::json;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::node::{Node, Speaker};
use crate::call::settings::Voice;
use crate::dialect::speech::Language;
use crate::driver::Account;
use crate::driver::account::{Use, View};
use crate::ids::StreamSid;

/// One voice of the chain, or the one behind it that says the fallback line.
#[derive(Serialize)]
struct VoiceView {
    voice: Cow<'static, str>,
    /// What stands between it and the calls; a voice of this process needs nothing.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    account: Option<AccountView>,
}

#[derive(Serialize)]
struct AccountView {
    breaker: &'static str,
    contexts: ContextsView,
    sockets: SocketsView,
}

#[derive(Serialize)]
struct ContextsView {
    in_use: u32,
    /// `null`: any number.
    limit: Option<u32>,
    max: Option<u32>,
    waiting: u32,
}

#[derive(Serialize)]
struct SocketsView {
    in_use: u32,
    /// `null`: any number.
    limit: Option<u32>,
    max: Option<u32>,
    warm: u32,
}

impl From<View> for AccountView {
    fn from(view: View) -> Self {
        let View { voice: _, breaker, contexts, waiting, sockets, warm } = view;
        let Use { in_use, limit, most: max } = contexts;
        let contexts = ContextsView { in_use, limit, max, waiting };
        let Use { in_use, limit, most: max } = sockets;
        AccountView { breaker: breaker.as_str(), contexts, sockets: SocketsView { in_use, limit, max, warm } }
    }
}

impl Node {
    /// The voices, in their order, each with the account through which it is reached; one of this process has none.
    pub(super) fn accounts(&self) -> impl Iterator<Item = (&Voice, Option<&Arc<Account>>)> {
        let settings = self.settings();
        settings.call.voices.iter().zip(&settings.speakers).map(|(voice, speaker)| match speaker {
            Speaker::Local(_) => (voice, None),
            Speaker::Remote { account, .. } => (voice, Some(account)),
        })
    }

    /// Keeps sockets to the voices warm until `stop`, each account in a task of `tasks`.
    pub(super) fn keep_warm(&self, tasks: &mut JoinSet<()>, stop: &CancellationToken) {
        // Sockets belong to no call yet. One whose handshake names its call is never taken over.
        let Ok(stream) = StreamSid::parse("warm") else { return };
        for speaker in &self.settings().speakers {
            if let Speaker::Remote { settings, account, .. } = speaker
                && account.wants_warm()
            {
                match settings.language(&stream) {
                    // Its connections are the HTTP client's, which keeps those that were used.
                    Language::Requests(_) => {}
                    Language::Socket(mut dialect) => {
                        tasks.spawn(Box::pin(account.clone().keep_warm(dialect.dial(), stop.clone())));
                    }
                }
            }
        }
    }
}

/// `GET /v1/voices`.
pub(super) async fn list(State(node): State<Node>) -> Response {
    let voices = node.accounts().map(|(voice, account)| VoiceView {
        voice: voice.name.clone(),
        account: account.map(|account| account.view().into()),
    });
    Json(json!({ "voices": voices.collect::<Vec<_>>() })).into_response()
}
