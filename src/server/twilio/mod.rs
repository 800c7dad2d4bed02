//! What Twilio asks of a server, without a web framework: who may call us, what we answer, what we ask.

pub mod address;
pub mod order;
pub mod public_url;
pub mod rest;
pub mod signature;
pub mod token;
pub mod twiml;
pub mod webhook;
