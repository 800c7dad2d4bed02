//! `POST /v1/calls/{id}/say`: text in, speech out.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, RawQuery, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt as _;
use serde_json::json;
use tokio::time::timeout;

use super::api::{ApiError, find};
use super::board::{Outcome, TurnView};
use super::calls::LiveCall;
use super::fields::Fields;
use super::node::Node;
use crate::call::event::{AgentEvent, Delivery, Say};
use crate::call::settings::Interruptible;
use crate::driver::inbox::CallOver;
use crate::ids::TurnId;

/// Longest wait for a turn to be heard, and of a text stream for speech to catch up.
pub(super) const HEARD_LIMIT: Duration = Duration::from_secs(600);
/// A sentence at the end of what a text stream has brought is spoken after so long: before, it may still go on, as in
/// "version 3." and "1".
const QUIET: Duration = Duration::from_millis(400);
/// A text stream that brings nothing for so long is over. The core has finished its turn by then.
const IDLE_LIMIT: Duration = Duration::from_secs(60);
/// A text stream is given to the call in pieces of at most this size, some 16 s of speech, with a look at how much is
/// unheard after each.
const PIECE_BYTES_MAX: usize = 256;

/// What is said, and how.
pub(super) struct Order {
    turn: Option<u32>,
    interruptible: Option<Interruptible>,
    delivery: Option<Arc<Delivery>>,
}

/// JSON with a piece of text, or `text/plain` whose pieces are spoken as they arrive.
pub(super) async fn say(
    State(node): State<Node>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
    request: Request,
) -> Result<Response, ApiError> {
    let live = find(&node, &id)?;
    let mut query = Fields::of_query(query.as_deref().unwrap_or_default())?;
    let is_waited_for = is_waited_for(&mut query)?;
    let content_type = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let turn = if content_type.is_some_and(|kind| kind.starts_with("text/plain")) {
        let order = order(&mut query)?;
        query.finish()?;
        say_stream(&live, order, request.into_body()).await?
    } else {
        query.finish()?;
        say_json(&live, request).await?
    };
    if !is_waited_for {
        return Ok((StatusCode::ACCEPTED, Json(json!({ "turn": turn }))).into_response());
    }
    heard(&live, turn).await
}

/// Whether the answer is to wait until the turn was heard.
pub(super) fn is_waited_for(query: &mut Fields) -> Result<bool, ApiError> {
    Ok(query.one_of("wait", &[("heard", ())])?.is_some())
}

/// What was heard of a turn, once it is over.
pub(super) async fn heard(live: &LiveCall, turn: TurnId) -> Result<Response, ApiError> {
    match timeout(HEARD_LIMIT, live.until(turn, over)).await {
        Ok(Some(view)) => Ok(Json(view).into_response()),
        Ok(None) => Err(CallOver.into()),
        Err(_) => Err(ApiError::NotHeard),
    }
}

async fn say_json(live: &LiveCall, request: Request) -> Result<TurnId, ApiError> {
    let mut body = Fields::of_request(request).await?;
    let Order { turn, interruptible, delivery } = order(&mut body)?;
    let text = body.text("text")?;
    let (last, flush) = (body.flag("last")?, body.flag("flush")?);
    body.finish()?;
    let text = match (text, turn) {
        (Some(text), _) => text,
        // A turn that is open can be ended or flushed without more text.
        (None, Some(_)) => String::new(),
        (None, None) => return Err(ApiError::field("text", "is missing")),
    };
    let (turn, last) = (turn_of(live, turn)?, last.unwrap_or(true));
    let is_speech = text.chars().any(char::is_alphanumeric);
    live.tell(Say { turn, text, last, flush: flush.unwrap_or(false), interruptible, delivery, preemptible: None })
        .await?;
    // The turn may have been dropped while the text was under way. One without a sound is heard as soon as it is said.
    match live.turn(turn) {
        Some(view) if view.outcome == Outcome::Interrupted || (is_speech && view.outcome != Outcome::Live) => {
            Err(ApiError::TurnOver(Box::new(view)))
        }
        Some(_) | None => Ok(turn),
    }
}

/// Speaks a body as it arrives, and reads it no faster than speech needs.
async fn say_stream(live: &LiveCall, order: Order, body: Body) -> Result<TurnId, ApiError> {
    let turn = turn_of(live, order.turn)?;
    let mut open = OpenTurn { live, turn, order, is_open: true };
    let mut stream = body.into_data_stream();
    let (mut carry, mut unchecked, mut is_sentence) = (Vec::new(), 0, false);
    loop {
        let limit = if is_sentence { QUIET } else { IDLE_LIMIT };
        let chunk = tokio::select! {
            biased;
            dropped = live.until(turn, over) => return Err(dropped_error(dropped)),
            chunk = timeout(limit, stream.next()) => chunk,
        };
        if chunk.is_err() && std::mem::take(&mut is_sentence) {
            live.tell(Say { flush: true, ..open.piece(String::new(), false) }).await?;
            continue;
        }
        // A client that goes away in the middle, or says nothing more, has said what it said.
        let Ok(Some(Ok(chunk))) = chunk else { break };
        carry.extend_from_slice(&chunk);
        let text = take_text(&mut carry);
        is_sentence = is_sentence_end(&text).unwrap_or(is_sentence);
        for piece in pieces(&text) {
            open.say(piece).await?;
            unchecked += piece.len();
            // Half a word is never left to wait for its other half, or it might be spoken as it is.
            if piece.ends_with(char::is_whitespace) || unchecked >= PIECE_BYTES_MAX {
                unchecked = 0;
                flowing(live, turn).await?;
            }
        }
    }
    open.end(&String::from_utf8_lossy(&carry)).await?;
    Ok(turn)
}

/// A turn whose text comes in pieces. It ends with its stream, however that ends: the server forgets a request whose
/// client is gone.
struct OpenTurn<'a> {
    live: &'a LiveCall,
    turn: TurnId,
    order: Order,
    is_open: bool,
}

impl OpenTurn<'_> {
    async fn say(&self, text: &str) -> Result<(), CallOver> {
        self.live.tell(self.piece(text.to_owned(), false)).await
    }

    async fn end(&mut self, text: &str) -> Result<(), CallOver> {
        self.live.tell(self.piece(text.to_owned(), true)).await?;
        self.is_open = false;
        Ok(())
    }

    fn piece(&self, text: String, last: bool) -> Say {
        let (interruptible, delivery) = (self.order.interruptible, self.order.delivery.clone());
        Say { turn: self.turn, text, last, flush: false, interruptible, delivery, preemptible: None }
    }
}

impl Drop for OpenTurn<'_> {
    fn drop(&mut self) {
        if self.is_open {
            // Without room in the inbox the core finishes the turn, a little later.
            self.live.port.try_send(AgentEvent::Say(self.piece(String::new(), true)));
        }
    }
}

/// Waits while enough of the turn's speech is unheard.
async fn flowing(live: &LiveCall, turn: TurnId) -> Result<(), ApiError> {
    let go_on = |view: Option<&TurnView>| match view {
        Some(view) if view.outcome != Outcome::Live => Some(Some(view.clone())),
        Some(view) if view.is_held => None,
        Some(_) | None => Some(None),
    };
    match timeout(HEARD_LIMIT, live.until(turn, go_on)).await {
        Ok(Some(None)) => Ok(()),
        Ok(Some(dropped)) => Err(dropped_error(dropped)),
        Ok(None) => Err(CallOver.into()),
        Err(_) => Err(ApiError::NotHeard),
    }
}

fn over(view: Option<&TurnView>) -> Option<TurnView> {
    view.filter(|view| view.outcome != Outcome::Live).cloned()
}

fn dropped_error(view: Option<TurnView>) -> ApiError {
    view.map_or(ApiError::Over(CallOver), |view| ApiError::TurnOver(Box::new(view)))
}

/// Whether text ends where a sentence may; `None` if it says nothing about that.
fn is_sentence_end(text: &str) -> Option<bool> {
    let is_closing = |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | ')' | ']' | '”' | '’' | '»');
    if text.ends_with('\n') {
        return Some(true);
    }
    let last = text.trim_end_matches(is_closing).chars().next_back()?;
    Some(matches!(last, '.' | '!' | '?' | '…' | '。' | '！' | '？'))
}

/// Cuts text behind white space, or where it must be, into pieces that are not too long.
fn pieces(mut text: &str) -> impl Iterator<Item = &str> {
    std::iter::from_fn(move || {
        let mut limit = text.len().min(PIECE_BYTES_MAX);
        while !text.is_char_boundary(limit) {
            limit -= 1;
        }
        let (head, _) = text.split_at(limit);
        let is_whole = limit == text.len();
        let space = || head.char_indices().rev().find(|(_, c)| c.is_whitespace()).map(|(at, c)| at + c.len_utf8());
        let cut = if is_whole { limit } else { space().unwrap_or(limit) };
        let (piece, rest) = text.split_at(cut);
        text = rest;
        (!piece.is_empty()).then_some(piece)
    })
}

/// Takes the whole characters of `bytes`; what is cut stays for the next piece, what is no text becomes `U+FFFD`.
fn take_text(bytes: &mut Vec<u8>) -> String {
    let whole = match std::str::from_utf8(bytes) {
        Ok(text) => text.len(),
        Err(error) => match error.error_len() {
            None => error.valid_up_to(),
            Some(_) => bytes.len(),
        },
    };
    let rest = bytes.split_off(whole);
    String::from_utf8_lossy(&std::mem::replace(bytes, rest)).into_owned()
}

/// The turn that text is for: a new one, or one that still takes text.
fn turn_of(live: &LiveCall, turn: Option<u32>) -> Result<TurnId, ApiError> {
    let Some(number) = turn else { return Ok(live.port.next_turn()) };
    let turn = TurnId(number);
    if !live.port.knows(turn) || live.has_forgotten(turn) {
        return Err(ApiError::NoTurn(number));
    }
    match live.turn(turn) {
        Some(view) if view.outcome != Outcome::Live => Err(ApiError::TurnOver(Box::new(view))),
        Some(view) if view.is_closed => Err(ApiError::TurnClosed(Box::new(view))),
        Some(_) | None => Ok(turn),
    }
}

/// What may cut a turn off, if it is said.
pub(super) fn interruptible(fields: &mut Fields) -> Result<Option<Interruptible>, ApiError> {
    let words = [
        ("any", Interruptible::Any),
        ("speech", Interruptible::Speech),
        ("dtmf", Interruptible::Dtmf),
        ("none", Interruptible::None),
    ];
    fields.one_of("interruptible", &words)
}

pub(super) fn order(fields: &mut Fields) -> Result<Order, ApiError> {
    let order = (fields.whole("turn")?, interruptible(fields)?);
    let delivery = Delivery {
        voice: fields.word("voice")?,
        language: fields.word("language")?,
        speed: fields.number("speed", 0.6, 1.5)?,
        volume: fields.number("volume", 0.5, 2.0)?,
        emotion: fields.word("emotion")?,
    };
    let delivery = (delivery != Delivery::default()).then(|| Arc::new(delivery));
    Ok(Order { turn: order.0, interruptible: order.1, delivery })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_may_be_cut_anywhere() {
        let text = "Grüße, 你好!";
        for cut in 0..=text.len() {
            let (head, tail) = text.as_bytes().split_at(cut);
            let mut bytes = head.to_vec();
            let mut said = take_text(&mut bytes);
            bytes.extend_from_slice(tail);
            said.push_str(&take_text(&mut bytes));
            assert_eq!((said.as_str(), bytes.len()), (text, 0), "cut at {cut}");
        }
        assert_eq!(take_text(&mut vec![0xFF, b'a']), "\u{FFFD}a");
    }

    #[test]
    fn a_sentence_may_be_over_or_not() {
        for text in ["One moment.", "One moment. ", "Really?\" ", "你好。", "a line\n", "\n"] {
            assert_eq!(is_sentence_end(text), Some(true), "{text:?}");
        }
        for text in ["One mom", "One moment, ", "3.1"] {
            assert_eq!(is_sentence_end(text), Some(false), "{text:?}");
        }
        for text in ["", " ", "\" "] {
            assert_eq!(is_sentence_end(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_long_text_is_cut_behind_white_space() {
        let words = "word ".repeat(200);
        let whole: Vec<&str> = pieces(&words).collect();
        assert_eq!(whole.concat(), words);
        assert!(whole.iter().all(|piece| piece.len() <= PIECE_BYTES_MAX && piece.ends_with("word ")));
        let chars = "好".repeat(200);
        let whole: Vec<&str> = pieces(&chars).collect();
        assert_eq!((whole.concat(), whole[0].len()), (chars.clone(), 255));
        assert_eq!(pieces("").count(), 0);
        assert_eq!(pieces("half a wo").collect::<Vec<_>>(), ["half a wo"]);
    }
}
