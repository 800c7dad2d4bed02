//! The carrier's end of a call, made of channels: it plays what it is sent on the runtime's clock, echoes each mark when
//! what is before it has been played, and sends the caller's silence meanwhile.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tokio_util::sync::CancellationToken;
use trunkline::audio::g711;
use trunkline::driver::Frame;
use trunkline::emulate::tts::tone;

/// Samples a second.
const RATE: u32 = 8_000;
/// Quieter frames are silence, as the root mean square of their samples.
const QUIET_RMS: f64 = 150.0;
/// Messages on their way between the call and its carrier.
const UNDER_WAY: usize = 256;
/// What a caller sends who says nothing: 20 ms.
const HUSH: [u8; 160] = [0xFF; 160];

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sound {
    Silence,
    /// The tone with this number.
    Tone(u32),
    /// Loud, but of no single tone: a voice, or the border between two tones.
    Other,
}

/// A frame that the caller heard.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Played {
    /// From the start of the call.
    pub(crate) at: Duration,
    pub(crate) length: Duration,
    pub(crate) sound: Sound,
}

/// What the caller heard, and what else came.
#[derive(Debug, Default)]
pub(crate) struct Tape {
    pub(crate) played: Vec<Played>,
    /// When each `clear` came.
    pub(crate) clears: Vec<Duration>,
    /// The code of the close frame, and when it came.
    pub(crate) closed: Option<(Option<u16>, Duration)>,
    /// Longest audio that waited to be played.
    pub(crate) ahead_max: Duration,
    /// When what waits will have been played.
    dry_at: Duration,
    marks: VecDeque<(Duration, String)>,
    /// What frames hold that came before.
    known: BTreeMap<Vec<u8>, Sound>,
}

impl Tape {
    /// The longest silence between two moments.
    pub(crate) fn longest_silence(&self, from: Duration, to: Duration) -> Duration {
        self.longest_without(from, to, |sound| sound != Sound::Silence)
    }

    /// The longest time between two moments without a sound of a kind.
    pub(crate) fn longest_without(&self, from: Duration, to: Duration, is_it: impl Fn(Sound) -> bool) -> Duration {
        let (mut heard_until, mut longest) = (from, Duration::ZERO);
        for frame in self.played.iter().filter(|frame| frame.at < to && is_it(frame.sound)) {
            longest = longest.max(frame.at.saturating_sub(heard_until));
            heard_until = heard_until.max(frame.at + frame.length);
        }
        longest.max(to.saturating_sub(heard_until))
    }

    /// How long sounds of a kind were heard between two moments.
    pub(crate) fn heard_for(&self, from: Duration, to: Duration, is_it: impl Fn(Sound) -> bool) -> Duration {
        let heard = self.played.iter().filter(|frame| frame.at >= from && frame.at < to && is_it(frame.sound));
        heard.map(|frame| frame.length).sum()
    }

    fn take_media(&mut self, now: Duration, payload: &str) {
        let words = STANDARD.decode(payload).unwrap();
        let length = Duration::from_micros(words.len() as u64 * 1_000_000 / u64::from(RATE));
        let at = self.dry_at.max(now);
        // A frame holds whole periods of every tone, so that most frames have been heard before.
        let sound = *self.known.entry(words).or_insert_with_key(|words| {
            let mut samples = Vec::with_capacity(words.len());
            g711::decode_mulaw_into(words, &mut samples);
            sound_of(&samples)
        });
        self.played.push(Played { at, length, sound });
        self.dry_at = at + length;
        self.ahead_max = self.ahead_max.max(self.dry_at - now);
    }

    /// Drops what has not been played; the marks that were out come back at once.
    fn clear(&mut self, now: Duration) {
        self.clears.push(now);
        self.played.retain(|frame| frame.at < now);
        self.dry_at = self.dry_at.min(now);
        self.marks.iter_mut().for_each(|(due, _)| *due = now);
    }
}

fn sound_of(samples: &[i16]) -> Sound {
    let energy: f64 = samples.iter().map(|sample| f64::from(*sample).powi(2)).sum();
    if energy < QUIET_RMS * QUIET_RMS * samples.len() as f64 {
        return Sound::Silence;
    }
    tone::classify(samples, RATE).map_or(Sound::Other, Sound::Tone)
}

/// The carrier's end of a call.
pub(crate) struct Line {
    pub(crate) tape: Arc<Mutex<Tape>>,
    pub(crate) began: Instant,
    /// Cancelled when the caller hangs up.
    pub(crate) hang_up: CancellationToken,
    told: mpsc::Receiver<Frame>,
    says: mpsc::Sender<Frame>,
    /// How often 20 ms of the caller's silence are sent.
    hush_every: Duration,
}

/// A line, and the call's ends of it: what the carrier says, and where it is told.
pub(crate) fn line(hush_every: Duration) -> (Line, mpsc::Receiver<Frame>, mpsc::Sender<Frame>) {
    let ((says, said), (tell, told)) = (mpsc::channel(UNDER_WAY), mpsc::channel(UNDER_WAY));
    let hang_up = CancellationToken::new();
    (Line { tape: Arc::default(), began: Instant::now(), hang_up, told, says, hush_every }, said, tell)
}

impl Line {
    /// Serves the line until the gateway closes it or is gone.
    pub(crate) async fn serve(mut self) {
        let mut hush = interval(self.hush_every);
        hush.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut is_over = false;
        loop {
            let due = self.tape.lock().unwrap().marks.front().map(|(due, _)| self.began + *due);
            tokio::select! {
                biased;
                frame = self.told.recv() => match frame {
                    Some(frame) => if self.take(frame) == Go::Over { return },
                    None => return,
                },
                () = self.hang_up.cancelled(), if !is_over => {
                    is_over = true;
                    self.say(json!({"event": "stop", "streamSid": "MZ1", "stop": {"callSid": "CA1"}})).await;
                }
                () = sleep_until(due.unwrap_or(self.began)), if due.is_some() && !is_over => self.echo().await,
                _ = hush.tick(), if !is_over => {
                    let media = json!({"track": "inbound", "payload": STANDARD.encode(HUSH)});
                    self.say(json!({"event": "media", "streamSid": "MZ1", "media": media})).await;
                }
            }
        }
    }

    async fn echo(&mut self) {
        let mark = self.tape.lock().unwrap().marks.pop_front();
        if let Some((_, name)) = mark {
            self.say(json!({"event": "mark", "streamSid": "MZ1", "mark": {"name": name}})).await;
        }
    }

    /// The call may have gone by itself.
    async fn say(&self, message: Value) {
        let _ = self.says.send(Frame::Text(message.to_string())).await;
    }

    fn take(&self, frame: Frame) -> Go {
        let now = self.began.elapsed();
        let mut tape = self.tape.lock().unwrap();
        match frame {
            Frame::Text(text) => {
                let message: Value = serde_json::from_str(&text).unwrap();
                assert_eq!(message["streamSid"], "MZ1");
                match message["event"].as_str().unwrap() {
                    "media" => tape.take_media(now, message["media"]["payload"].as_str().unwrap()),
                    "mark" => {
                        let name = message["mark"]["name"].as_str().unwrap().to_owned();
                        let due = tape.dry_at.max(now);
                        tape.marks.push_back((due, name));
                    }
                    "clear" => tape.clear(now),
                    other => panic!("{other} is no message for a carrier"),
                }
            }
            Frame::Alive => {}
            Frame::Close(code, _) => {
                tape.closed = Some((code, now));
                return Go::Over;
            }
            Frame::Binary(_) | Frame::Oversize => panic!("not to be written: {frame:?}"),
        }
        Go::On
    }
}

/// Whether a line is still open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Go {
    On,
    Over,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn silence_is_what_is_between_the_sounds() {
        let frame = |at: u64, sound| Played { at: ms(at), length: ms(20), sound };
        let played = vec![frame(100, Sound::Tone(1)), frame(120, Sound::Silence), frame(300, Sound::Other)];
        let tape = Tape { played, ..Tape::default() };
        assert_eq!(tape.longest_silence(ms(0), ms(400)), ms(180));
        assert_eq!(tape.longest_silence(ms(0), ms(900)), ms(580));
        assert_eq!(tape.longest_silence(ms(110), ms(120)), ms(0));
        assert_eq!(tape.heard_for(ms(0), ms(900), |sound| sound == Sound::Other), ms(20));
    }
}
