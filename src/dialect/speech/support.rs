//! What the tests of all vendors need.

use std::sync::Arc;

use crate::audio::{Encoding, SourceFormat};
use crate::call::action::{Place, TtsCommand};
use crate::call::event::Delivery;
use crate::dialect::{Outgoing, TtsDialect};
use crate::ids::{CallTime, ContextId, TurnId};

/// The context `7.2`.
pub(super) const CONTEXT: ContextId = ContextId { turn: TurnId(7), serial: 2 };

/// [`CONTEXT`] for speech at 16 kHz.
pub(super) fn place(delivery: Delivery) -> Place {
    at(CONTEXT, delivery)
}

/// A context for speech at 16 kHz.
pub(super) fn at(context: ContextId, delivery: Delivery) -> Place {
    let format = SourceFormat { encoding: Encoding::PcmS16Le, rate: 16_000 };
    Place { voice: 0, context, format, delivery: Arc::new(delivery) }
}

/// The text frames that a command becomes.
pub(super) fn said(dialect: &mut dyn TtsDialect, command: &TtsCommand) -> Vec<String> {
    said_at(CallTime::ZERO, dialect, command)
}

/// The text frames that a command becomes at a moment.
pub(super) fn said_at(at: CallTime, dialect: &mut dyn TtsDialect, command: &TtsCommand) -> Vec<String> {
    let mut messages = Vec::new();
    dialect.encode(at, command, &mut |message| match message {
        Outgoing::Text(text) => messages.push(text),
        Outgoing::Binary(_) | Outgoing::Close { .. } => panic!("{message:?}"),
    });
    messages
}
