//! A replayed call as something to listen to.

use std::fs::OpenOptions;
use std::io::BufWriter;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use trunkline::audio::{Encoding, MediaFormat, g711, pcm};
use trunkline::call::event::{CarrierEvent, Event};
use trunkline::ids::CallTime;
use trunkline::replay::{Line, Sent};
use trunkline::tape::Tape;

/// One side of a call.
#[derive(Default)]
struct Side {
    samples: Vec<i16>,
}

impl Side {
    /// Adds samples that came at `at`: played then, or after what is still to be played.
    fn play(&mut self, at: usize, samples: &[i16]) {
        if self.samples.len() < at {
            self.samples.resize(at, 0);
        }
        self.samples.extend_from_slice(samples);
    }

    /// Drops what has not been played at `at`.
    fn clear(&mut self, at: usize) {
        self.samples.truncate(at);
    }
}

/// Writes the call as stereo WAV: the caller left, the gateway right, as a carrier plays it that loses nothing.
pub(super) fn write(tape: &Tape, lines: &[Line], path: &Path) -> Result<(), hound::Error> {
    let mut peers = tape.header.peers();
    let mut format = MediaFormat::TELEPHONE;
    let (mut caller, mut gateway) = (Side::default(), Side::default());
    for entry in &tape.entries {
        match entry.what.event(&mut peers) {
            Some(Event::Carrier(CarrierEvent::Started(start))) => format = start.inbound,
            Some(Event::Carrier(CarrierEvent::Media(audio))) => {
                // It was spoken before it came.
                let samples = decode(format, &audio);
                let at = position(format, entry.at).saturating_sub(samples.len());
                caller.play(at, &samples);
            }
            Some(
                Event::Carrier(_)
                | Event::Agent(_)
                | Event::Tts(_)
                | Event::Hearing { .. }
                | Event::Speech(_)
                | Event::Wake
                | Event::Drain,
            )
            | None => {}
        }
    }
    for Line { at, sent } in lines {
        let Sent::Carrier(text) = sent else { continue };
        let message: Value = serde_json::from_str(text).unwrap_or_default();
        let at = position(format, *at);
        match (message.get("event").and_then(Value::as_str), message.pointer("/media/payload").and_then(Value::as_str))
        {
            (Some("media"), Some(payload)) => {
                gateway.play(at, &decode(format, &STANDARD.decode(payload).unwrap_or_default()));
            }
            (Some("clear"), _) => gateway.clear(at),
            (_, _) => {}
        }
    }
    let spec = hound::WavSpec {
        channels: 2,
        sample_rate: format.rate,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    // Somebody's voice: for the owner alone.
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    let mut file = hound::WavWriter::new(BufWriter::new(file), spec)?;
    for n in 0..caller.samples.len().max(gateway.samples.len()) {
        file.write_sample(caller.samples.get(n).copied().unwrap_or_default())?;
        file.write_sample(gateway.samples.get(n).copied().unwrap_or_default())?;
    }
    file.finalize()
}

fn position(format: MediaFormat, at: CallTime) -> usize {
    usize::try_from(format.samples_in(at.since(CallTime::ZERO))).unwrap_or(usize::MAX)
}

fn decode(format: MediaFormat, bytes: &[u8]) -> Vec<i16> {
    let mut samples = Vec::new();
    match format.encoding {
        Encoding::Mulaw => g711::decode_mulaw_into(bytes, &mut samples),
        Encoding::Alaw => g711::decode_alaw_into(bytes, &mut samples),
        Encoding::PcmS16Le => pcm::SampleReader::default().read_into(bytes, &mut samples),
    }
    samples
}
