//! A phone of this test's own, which keeps every message as it came.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;
use trunkline::audio::g711;

const FRAME: Duration = Duration::from_millis(20);
const FRAME_SAMPLES: usize = 160;
/// How long a gateway may take to close after `stop`.
const GOODBYE: Duration = Duration::from_secs(5);

/// Frames from the caller's first word to the key, and to the end of the call.
const KEY_AFTER: usize = 60;
const STOP_AFTER: usize = 150;
/// A gateway that has said nothing after so many frames never will.
const FRAMES_MAX: usize = 2_000;

/// Calls `url`, says `speech` (8 kHz) `speak_after` frames after the first audio, presses a key and hangs up. Gives everything
/// that came.
pub(crate) async fn call(url: &str, sid: &str, speech: &[i16], speak_after: usize) -> Vec<String> {
    let (socket, _) = connect_async(url).await.unwrap();
    let (mut writer, mut reader) = socket.split();
    let media_format = json!({"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1});
    let start = json!({"streamSid": sid, "accountSid": "AC9f31c7", "callSid": format!("CA{sid}"), "tracks": ["inbound"],
        "mediaFormat": media_format, "customParameters": {"who": "Ada Lovelace", "number": "+1555010042"}});
    for message in [
        json!({"event": "connected", "protocol": "Call", "version": "1.0.0"}),
        json!({"event": "start", "sequenceNumber": "1", "streamSid": sid, "start": start}),
        json!({"event": "nonsense", "text": "of no use to anybody"}),
    ] {
        writer.send(Message::text(message.to_string())).await.unwrap();
    }
    let (mut came, mut marks) = (Vec::new(), Vec::<(Instant, Value)>::new());
    let mut plays_until = Instant::now();
    let mut tick = interval(FRAME);
    tick.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let (mut sent, mut speak_at) = (0, FRAMES_MAX);
    while sent < (speak_at + STOP_AFTER).min(FRAMES_MAX) {
        tokio::select! {
            _ = tick.tick() => {
                while marks.first().is_some_and(|(due, _)| *due <= Instant::now()) {
                    let (_, name) = marks.remove(0);
                    let mark = json!({"event": "mark", "streamSid": sid, "mark": {"name": name}});
                    writer.send(Message::text(mark.to_string())).await.unwrap();
                }
                writer.send(Message::text(media(sid, sent, speech, speak_at))).await.unwrap();
                if sent == speak_at + KEY_AFTER {
                    let key = json!({"event": "dtmf", "streamSid": sid, "dtmf": {"track": "inbound_track", "digit": "7"}});
                    writer.send(Message::text(key.to_string())).await.unwrap();
                }
                sent += 1;
            }
            message = reader.next() => {
                let Some(Ok(Message::Text(text))) = message else { continue };
                let value: Value = serde_json::from_str(text.as_str()).unwrap();
                match value["event"].as_str().unwrap() {
                    "media" => {
                        plays_until = plays_until.max(Instant::now()) + FRAME;
                        speak_at = speak_at.min(sent + speak_after);
                    }
                    "mark" => marks.push((plays_until, value["mark"]["name"].clone())),
                    "clear" => {
                        plays_until = Instant::now();
                        marks.iter_mut().for_each(|(due, _)| *due = plays_until);
                    }
                    other => panic!("no carrier knows {other:?}"),
                }
                came.push(text.as_str().to_owned());
            }
        }
    }
    let stop =
        json!({"event": "stop", "streamSid": sid, "stop": {"accountSid": "AC9f31c7", "callSid": format!("CA{sid}")}});
    writer.send(Message::text(stop.to_string())).await.unwrap();
    let rest = async {
        while let Some(Ok(message)) = reader.next().await {
            if let Message::Text(text) = message {
                came.push(text.as_str().to_owned());
            }
        }
    };
    timeout(GOODBYE, rest).await.unwrap();
    came
}

fn media(sid: &str, frame: usize, speech: &[i16], speak_at: usize) -> String {
    let from =
        frame.checked_sub(speak_at).map(|n| n * FRAME_SAMPLES).filter(|from| from + FRAME_SAMPLES <= speech.len());
    let samples = from.map_or(&[0; FRAME_SAMPLES][..], |from| &speech[from..from + FRAME_SAMPLES]);
    let mut bytes = Vec::new();
    g711::encode_mulaw_into(samples, &mut bytes);
    json!({"event": "media", "sequenceNumber": (frame + 2).to_string(), "streamSid": sid,
        "media": {"track": "inbound", "chunk": (frame + 1).to_string(), "timestamp": (frame * 20).to_string(),
                  "payload": STANDARD.encode(bytes)}})
    .to_string()
}
