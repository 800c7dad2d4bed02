//! The caller's voice.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use tokio::time::{Instant, sleep_until};
use trunkline::audio::g711::encode_mulaw_into;
use trunkline::emulate::carrier::clip_of;

use crate::support::phone::Phone;

pub(crate) const QUESTION: &[u8] = include_bytes!("../../fixtures/audio/question.wav");

/// The caller speaks, in real time.
pub(crate) async fn speak(phone: &Phone, wav: &[u8]) {
    let mut audio = Vec::new();
    encode_mulaw_into(&clip_of(wav).unwrap(), &mut audio);
    send(phone, &audio).await;
}

/// The caller says nothing for a while.
pub(crate) async fn hush(phone: &Phone, millis: usize) {
    send(phone, &vec![0xFF; 8 * millis]).await;
}

async fn send(phone: &Phone, audio: &[u8]) {
    let begun = Instant::now();
    for (frame, number) in audio.chunks(160).zip(1_u64..) {
        phone.send(json!({ "event": "media", "streamSid": "MZ1",
            "media": { "track": "inbound", "payload": STANDARD.encode(frame) } }));
        sleep_until(begun + Duration::from_millis(20 * number)).await;
    }
}
