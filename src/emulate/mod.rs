//! Emulated services: what a call needs from outside, on this machine, with every fault on a switch.
//!
//! An emulator shares no code with the client it is used against: a field name wrong on both sides would agree with
//! itself.

pub mod carrier;
pub mod cartesia;
pub mod fault;
pub mod floor;
pub mod llm;
pub mod speech;
pub mod stt;
pub mod tts;
