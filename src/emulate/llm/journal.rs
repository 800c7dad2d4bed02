//! What really happened, for tests and measurements: the truth that a client's account is compared with.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

/// Exchanges remembered; the oldest are forgotten first.
pub const EXCHANGES_MAX: usize = 2_000;

/// Bytes of the requests remembered, all together; the oldest are forgotten first.
pub const REQUESTS_BYTES_MAX: usize = 16 * 1024 * 1024;

/// How an exchange ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Everything was sent.
    Complete,
    /// The request was answered with an error status.
    Refused,
    /// A fault ended the answer: an error in the stream, or the connection was cut.
    Failed,
    /// The client closed the connection before the answer's end.
    Cancelled,
    /// The server was stopped before the answer's end.
    Stopped,
}

impl End {
    /// The name in `GET /journal`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Stopped => "stopped",
        }
    }
}

/// One chat completion, from its request.
#[derive(Clone, Default, PartialEq)]
pub struct Exchange {
    /// Which it is, counted from 1; its id on the wire is `chatcmpl-N`.
    pub number: u64,
    /// When the request was read, since the server started.
    pub at: Duration,
    /// HTTP status; `None` if a fault withholds it.
    pub status: Option<u16>,
    /// The parameter for which the request was refused.
    pub refused_param: Option<String>,
    /// The model that was asked for.
    pub model: String,
    /// The messages as they came; empty if the request was refused.
    pub messages: Vec<Value>,
    /// Names of the tools that the answer could call.
    pub tools: Vec<String>,
    /// Whether the answer is streamed.
    pub stream: bool,
    /// The rule that answered, counted from 0; `None` is the fallback.
    pub rule: Option<usize>,
    /// The tokens of the answer's text, sent or not.
    pub text: Vec<String>,
    /// The answer's tool calls, as the API writes them in a message, sent or not.
    pub calls: Vec<Value>,
    /// Tokens of the whole answer, those of tool arguments included.
    pub tokens_planned: u32,
    /// Tokens handed to the socket. The client may have left without reading the last of them.
    pub tokens_sent: u32,
    /// When it ended, since the server started, and how.
    pub ended: Option<(Duration, End)>,
}

impl Exchange {
    /// The part of the answer's text that was handed to the socket.
    pub fn text_sent(&self) -> String {
        let sent = usize::try_from(self.tokens_sent).unwrap_or(usize::MAX);
        self.text.iter().take(sent).map(String::as_str).collect()
    }

    fn to_json(&self) -> Value {
        let ended = self.ended.map(|(at, end)| json!({"at_ms": millis(at), "how": end.name()}));
        json!({
            "number": self.number,
            "at_ms": millis(self.at),
            "status": self.status,
            "refused_param": self.refused_param,
            "model": self.model,
            "messages": self.messages,
            "tools": self.tools,
            "stream": self.stream,
            "rule": self.rule,
            "text_sent": self.text_sent(),
            "calls": self.calls,
            "tokens_planned": self.tokens_planned,
            "tokens_sent": self.tokens_sent,
            "ended": ended,
        })
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl std::fmt::Debug for Exchange {
    /// Without the texts, which may be a caller's.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Exchange")
            .field("number", &self.number)
            .field("status", &self.status)
            .field("refused_param", &self.refused_param)
            .field("messages", &self.messages.len())
            .field("rule", &self.rule)
            .field("calls", &self.calls.len())
            .field("tokens_planned", &self.tokens_planned)
            .field("tokens_sent", &self.tokens_sent)
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}

/// Shared handle on the record of one server. Bounded: [`EXCHANGES_MAX`], [`REQUESTS_BYTES_MAX`].
#[derive(Clone, Debug)]
pub struct Journal {
    state: Arc<Mutex<State>>,
    started: Instant,
}

#[derive(Debug, Default)]
struct State {
    /// With the bytes of each one's request.
    exchanges: VecDeque<(Exchange, usize)>,
    bytes: usize,
    begun: u64,
}

impl Journal {
    pub(super) fn new() -> Self {
        Self { state: Arc::default(), started: Instant::now() }
    }

    /// A poisoned lock still holds whole records: nothing below can stop half-way.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All exchanges still remembered, in the order in which they began.
    pub fn exchanges(&self) -> Vec<Exchange> {
        self.state().exchanges.iter().map(|(exchange, _)| exchange.clone()).collect()
    }

    /// The latest exchange.
    pub fn last(&self) -> Option<Exchange> {
        self.state().exchanges.back().map(|(exchange, _)| exchange.clone())
    }

    /// Exchanges begun since the server started, forgotten ones included.
    pub fn begun(&self) -> u64 {
        self.state().begun
    }

    /// What `GET /journal` answers.
    pub(super) fn to_json(&self) -> Value {
        let state = self.state();
        let exchanges: Vec<Value> = state.exchanges.iter().map(|(exchange, _)| exchange.to_json()).collect();
        json!({"begun": state.begun, "exchanges": exchanges})
    }

    /// The number of a new exchange.
    pub(super) fn number(&self) -> u64 {
        let mut state = self.state();
        state.begun += 1;
        state.begun
    }

    /// Remembers an exchange whose request had so many bytes.
    pub(super) fn begin(&self, exchange: Exchange, bytes: usize) {
        let at = self.started.elapsed();
        let mut state = self.state();
        state.bytes += bytes;
        state.exchanges.push_back((Exchange { at, ..exchange }, bytes));
        while state.exchanges.len() > EXCHANGES_MAX || (state.bytes > REQUESTS_BYTES_MAX && state.exchanges.len() > 1) {
            if let Some((_, bytes)) = state.exchanges.pop_front() {
                state.bytes -= bytes;
            }
        }
    }

    fn update(&self, number: u64, change: impl FnOnce(&mut Exchange)) {
        let mut state = self.state();
        let mut newest_first = state.exchanges.iter_mut().rev();
        if let Some((exchange, _)) = newest_first.find(|(exchange, _)| exchange.number == number) {
            change(exchange);
        }
    }

    pub(super) fn sent(&self, number: u64, tokens: u32) {
        self.update(number, |exchange| exchange.tokens_sent += tokens);
    }

    pub(super) fn ended(&self, number: u64, end: End) {
        let at = self.started.elapsed();
        self.update(number, |exchange| exchange.ended = Some((at, end)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begin(journal: &Journal, bytes: usize) -> u64 {
        let number = journal.number();
        journal.begin(Exchange { number, ..Exchange::default() }, bytes);
        number
    }

    #[tokio::test]
    async fn it_forgets_the_oldest() {
        let journal = Journal::new();
        for _ in 0..EXCHANGES_MAX + 5 {
            begin(&journal, 1);
        }
        let kept = journal.exchanges();
        assert_eq!((kept.len(), kept[0].number, journal.begun()), (EXCHANGES_MAX, 6, 2_005));
        let large = begin(&journal, REQUESTS_BYTES_MAX - 2);
        assert_eq!((journal.exchanges().len(), journal.last().unwrap().number), (3, large));
        let larger = begin(&journal, REQUESTS_BYTES_MAX + 1);
        journal.sent(large, 1);
        journal.ended(larger, End::Complete);
        let kept = journal.exchanges();
        assert_eq!((kept.len(), kept[0].ended.unwrap().1), (1, End::Complete));
    }
}
