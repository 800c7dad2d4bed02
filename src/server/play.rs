//! `POST /v1/calls/{id}/play`, and keys that are heard rather than pressed: turns without a voice.

use axum::Json;
use axum::extract::{Path, RawQuery, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::api::{ApiError, find};
use super::board::Outcome;
use super::calls::LiveCall;
use super::fields::Fields;
use super::node::Node;
use super::say;
use crate::call::event::{Clip, Play};
use crate::call::settings::Interruptible;
use crate::ids::TurnId;
use crate::player::Tones;

/// Most times that a recording is played: what `loop="0"` means to Twilio, for which "for ever" ends there too.
const TIMES_MAX: u32 = 1_000;

/// A recording as a turn.
pub(super) async fn play(
    State(node): State<Node>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
    request: Request,
) -> Result<Response, ApiError> {
    let live = find(&node, &id)?;
    let mut query = Fields::of_query(query.as_deref().unwrap_or_default())?;
    let is_waited_for = say::is_waited_for(&mut query)?;
    query.finish()?;
    let mut body = Fields::of_request(request).await?;
    let admitted = |source: &str| node.settings().player.admits(source).map(|()| source.to_owned());
    let source = body.parsed("source", admitted)?;
    let times = body.whole("times")?.unwrap_or(1);
    let (interruptible, preemptible) = (say::interruptible(&mut body)?, body.flag("preemptible")?);
    body.finish()?;
    let source = source.ok_or_else(|| ApiError::field("source", "is missing"))?;
    if times > TIMES_MAX {
        return Err(ApiError::field("times", &format!("must be a whole number from 1 to {TIMES_MAX}")));
    }
    let turn = live.port.next_turn();
    let preemptible = preemptible.unwrap_or(false);
    let played = start(&live, Play { turn, clip: Clip::Recording(source), times, interruptible, preemptible }).await?;
    if is_waited_for { say::heard(&live, played).await } else { Ok(told(played)) }
}

/// Keys as tones of the stream, which goes on: a turn like any other, that nothing cuts off unless it is said to.
pub(super) async fn tones(node: &Node, id: &str, mut body: Fields) -> Result<Response, ApiError> {
    let live = find(node, id)?;
    let keys = body.parsed("digits", |keys| Tones::parse(keys).map(|_| keys.to_owned()))?;
    let interruptible = say::interruptible(&mut body)?.unwrap_or(Interruptible::None);
    body.finish()?;
    let clip = Clip::Tones(keys.ok_or_else(|| ApiError::field("digits", "is missing"))?);
    let (turn, interruptible) = (live.port.next_turn(), Some(interruptible));
    Ok(told(start(&live, Play { turn, clip, times: 1, interruptible, preemptible: false }).await?))
}

/// Gives the call a turn that is played, unless it takes no more.
async fn start(live: &LiveCall, play: Play) -> Result<TurnId, ApiError> {
    let turn = play.turn;
    live.play(play).await?;
    match live.turn(turn) {
        Some(view) if view.outcome == Outcome::Interrupted => Err(ApiError::TurnOver(Box::new(view))),
        Some(_) | None => Ok(turn),
    }
}

fn told(turn: TurnId) -> Response {
    (StatusCode::ACCEPTED, Json(json!({ "turn": turn }))).into_response()
}
