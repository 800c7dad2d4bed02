//! Stand-ins for the gateway's peers, for demonstrations and tests.
//!
//! Nothing here shares code with the gateway's own reading of a protocol: a field name wrong on both sides would agree
//! with itself.

pub mod carrier;
