//! What Twilio asks of a server, without a web framework: who may call us, what we answer.

pub mod public_url;
pub mod signature;
pub mod token;
pub mod twiml;
pub mod webhook;
