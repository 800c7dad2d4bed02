//! How the server asks others: by a client that trusts the authorities of the web and asks no proxy, and not to read more of
//! an answer than makes sense.

use reqwest::Response;

use crate::http::{self, BodyEnd, Http, HttpError};

/// Longest answer that is read, in bytes; the carrier's own limit for instructions.
pub(super) const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// The client.
pub(super) fn client() -> Result<Http, HttpError> {
    Http::new(http::Settings::default())
}

/// The body of an answer, unless it is too long or breaks off. Not cancel-safe: what was read is lost.
pub(super) async fn body_of(response: Response) -> Option<Vec<u8>> {
    let (body, end) = http::read(response, ANSWER_BYTES_MAX).await;
    (end == BodyEnd::Whole).then_some(body)
}
