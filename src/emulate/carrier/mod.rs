//! A caller's phone and the carrier behind it: a client of Twilio's media-stream protocol that plays in real time.
//!
//! ```text
//!   Plan ──► run ──► Phone (pure: time is an argument)          Outcome
//!            socket    ├─ Caller    frames, clips, digits   ──►   ├─ Report      figures, from the event log alone
//!            clock     ├─ Playout   buffer, marks, clear          ├─ Recording   what was really played, and when
//!                      └─ Log       every event, stamped          └─ Log, timeline
//! ```
//!
//! The emulator answers the questions an operator would ask of a real call: when did the first audio come, did it stutter,
//! how fast did it fall silent when the caller spoke. What was not observed is reported as such and never as zero, and the
//! emulator reports its own lateness, so that a busy machine is not mistaken for a slow gateway.

mod bursts;
mod caller;
mod clip;
mod dial;
mod figures;
pub mod load;
mod log;
mod messages;
mod phone;
mod plan;
mod playout;
mod recording;
mod report;
mod run;
mod signature;
mod webhook;

pub use caller::{Clip, Moment, SPEECH_LEVEL};
pub use clip::{ClipError, clip_of, read_clip};
pub use dial::{DialError, Line, Route};
pub use log::{EndedBy, Happening, Log, LogEntry, Logged, TimelineEntry};
pub use messages::Fault;
pub use plan::{AuthToken, Buffers, HangUp, Marks, Plan, random_sid};
pub use recording::{Recording, Segment};
pub use report::{AfterClear, CallerTurn, MarkCounts, Report, Span, Spread, Underruns, Warning};
pub use run::{CarrierError, Outcome, converse, run};
pub use webhook::{Incoming, StreamOffer, WebhookError, ask};
