//! What a call hears that came too late to be refused: a line, and then the end.

use futures_util::{Sink, Stream};

use super::node::{Node, Speaker};
use super::twilio::token::random_bytes;
use crate::call::event::Start;
use crate::call::settings::{Conversation, Lifetime, Settings as CallSettings};
use crate::dialect::{CarrierDialect, Input};
use crate::driver::{CallSetup, Frame, Stopping, VoiceLink, inbox, run_call};

/// Runs a call that has no seat: the built-in voice says the busy line, and nothing else happens. It asks nobody else for
/// anything, and is left by the call itself at once when the line was heard.
pub(super) async fn apologise<R, W>(
    node: &Node,
    start: &Start,
    first: Vec<Input>,
    carrier: Box<dyn CarrierDialect>,
    reader: R,
    writer: W,
) where
    R: Stream<Item = Frame> + Send + Unpin + 'static,
    W: Sink<Frame, Error: Send> + Send + Unpin + 'static,
{
    let settings = node.settings();
    // The built-in voice is always the last one.
    let (Some(voice), Some(Speaker::Local(pool))) = (settings.call.voices.last(), settings.speakers.last()) else {
        return;
    };
    let lifetime = Lifetime { leaving: settings.busy.line.clone(), ..Lifetime::default() };
    let call = CallSettings {
        voices: vec![voice.clone()],
        chain: 1,
        phrases: Vec::new(),
        conversation: Conversation { lifetime, ..Conversation::default() },
        seed: random_bytes().map_or(0, u64::from_be_bytes),
        ..settings.call.clone()
    };
    // It is to leave from the first moment on.
    let stopping = Stopping { cancel: node.stopping().cancel.clone(), ..Stopping::default() };
    stopping.leave.cancel();
    let (_port, inbox) = inbox();
    let setup = CallSetup {
        tape: node.tape(&call, None, start),
        // Nothing is said in it that anybody would want to hear again, and nobody was told of a recording.
        recording: None,
        settings: call,
        carrier,
        voices: vec![VoiceLink::Local(pool.clone())],
        player: settings.player.clone(),
        phrases: crate::driver::Phrases::default(),
        hearing: None,
        app: None,
        meter: node.meter().clone(),
        first,
        stopping,
    };
    Box::pin(run_call(setup, reader, writer, inbox, |_, _| {})).await;
}
