//! What peers write, as serde types and nothing more: one file per carrier family or vendor.

pub mod aura;
pub mod cartesia;
pub mod deepgram;
pub mod elevenlabs;
pub mod flux;
pub mod flux_speak;
pub mod gradium;
pub mod gradium_tts;
pub mod ink;
pub mod openai_speech;
pub mod relay;
pub mod rime;
pub mod twilio;
