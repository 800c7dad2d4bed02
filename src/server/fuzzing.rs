//! What fuzzing reaches that is private otherwise. Compiled with `--cfg fuzzing` alone.

use super::fields::Fields;
use super::{say, steer};

/// Reads a body and a query as the routes of the API read theirs, as far as they do so before they act.
pub fn bodies(body: &[u8], query: &str) {
    for fields in [Fields::of_json(body), Fields::of_query(query)] {
        let Ok(mut fields) = fields else { continue };
        let _ = (say::order(&mut fields).is_ok(), say::is_waited_for(&mut fields).is_ok());
        let _ = (steer::instructions(&mut fields).is_ok(), fields.table("parameters").is_ok());
        let _ = (fields.whole("times").is_ok(), fields.word("voice").is_ok(), fields.finish().is_ok());
    }
}
