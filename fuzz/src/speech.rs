//! Vendors that speak, and vendors that write down what is spoken.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use trunkline::audio::{Encoding, MediaFormat, SourceFormat};
use trunkline::call::action::{HearingCommand, Place, TtsCommand};
use trunkline::call::event::{Clip, Delivery, HearingEvent, TtsEvent};
use trunkline::config::{Input, load};
use trunkline::dialect::speech::Language;
use trunkline::dialect::{Message, hearing as recognisers, speech};
use trunkline::gateway;
use trunkline::ids::{CallTime, ContextId, StreamSid, TurnId};
use trunkline::server::{Settings, Speaker};

use crate::{Line, STREAM, assert_json, lines};

/// Every vendor that speaks, in the order of their letters.
static VOICES: LazyLock<Vec<speech::Settings>> = LazyLock::new(|| {
    let speakers = node("").speakers.into_iter();
    speakers
        .filter_map(|speaker| match speaker {
            Speaker::Local(_) => None,
            Speaker::Remote { settings, .. } => Some(settings),
        })
        .collect()
});

/// Every vendor that hears, likewise.
static RECOGNISERS: LazyLock<Vec<recognisers::Settings>> = LazyLock::new(|| {
    let more = "\n[hearing.cartesia]\nendpoint = \"manual\"";
    let all = [("cartesia", ""), ("cartesia", more), ("deepgram", ""), ("deepgram_flux", ""), ("gradium", "")];
    all.iter()
        .filter_map(|(provider, more)| Some(node(&format!("hearing.provider = {provider:?}{more}")).hearing?.settings))
        .collect()
});

fn node(toml: &str) -> Settings {
    const ALL: &str = "speech.chain = [\"cartesia\", \"gradium\", \"elevenlabs\", \"rime\", \"deepgram\", \"deepgram_flux\", \"openai\"]\n";
    let keys = ["CARTESIA", "GRADIUM", "ELEVENLABS", "RIME", "DEEPGRAM", "OPENAI"];
    let environment = keys.map(|vendor| (format!("{vendor}_API_KEY").into(), "key".into())).to_vec();
    let file = Some(("fuzz.toml".to_owned(), format!("{ALL}{toml}")));
    let loaded = load(&Input { file, environment, ..Input::default() }).expect("a configuration");
    gateway::settings(&loaded.config).expect("settings")
}

/// What a vendor says while it speaks. The first byte says which vendor.
pub fn voices(input: &[u8]) {
    let [vendor, script @ ..] = input else { return };
    let stream = StreamSid::parse(STREAM).expect("a name");
    match VOICES[usize::from(*vendor) % VOICES.len()].language(&stream) {
        Language::Socket(mut dialect) => {
            dialect.dial();
            let mut at = CallTime::ZERO;
            for line in lines(script) {
                at = at + Duration::from_millis(20);
                match line {
                    Line::Message(message) => sound(&dialect.decode(message)),
                    Line::Command([b'd', ..]) => drop(dialect.dial()),
                    Line::Command(arguments) => {
                        dialect.encode(at, &command(arguments), &mut |message| assert_json(&message));
                    }
                }
            }
        }
        Language::Requests(dialect) => {
            for (n, line) in lines(script).enumerate() {
                let (text, bytes) = match line {
                    Line::Message(Message::Text(text)) => (text, text.as_bytes()),
                    Line::Message(Message::Binary(bytes)) | Line::Command(bytes) => ("", bytes),
                };
                if let Some(request) = dialect.request(&place(1, 1), text) {
                    assert!(serde_json::from_slice::<serde_json::Value>(&request.body).is_ok());
                }
                dialect.is_speech(200, text);
                dialect.refusal(400 + u16::try_from(n % 200).unwrap_or_default(), bytes);
                dialect.fault_in(bytes, n == 0);
            }
        }
    }
}

/// What holds of everything that a voice says, whatever it wrote.
fn sound(event: &TtsEvent) {
    match event {
        TtsEvent::Words { words, .. } | TtsEvent::TimedAudio { words, .. } => {
            for word in words {
                assert!(word.start_us.max(word.end_us) <= 86_400_000_000, "{word:?} is later than a day");
            }
        }
        TtsEvent::Down { fault, .. } | TtsEvent::Failed { fault, .. } => {
            assert!(fault.reason.len() <= 4_096, "a reason of {} bytes", fault.reason.len());
        }
        TtsEvent::Up { .. }
        | TtsEvent::Audio { .. }
        | TtsEvent::Spoken { .. }
        | TtsEvent::Granted { .. }
        | TtsEvent::Done { .. }
        | TtsEvent::Ignored
        | TtsEvent::Garbage => {}
    }
}

fn place(turn: u32, serial: u32) -> Place {
    Place {
        voice: 0,
        context: ContextId { turn: TurnId(turn), serial },
        format: SourceFormat { encoding: Encoding::PcmS16Le, rate: 8_000 },
        delivery: Arc::new(Delivery::default()),
    }
}

/// A command, its turn and serial, and the text behind them.
fn command(arguments: &[u8]) -> TtsCommand {
    let digit = |at: usize| u32::from(arguments.get(at).copied().unwrap_or(b'1').wrapping_sub(b'0') % 10);
    let on = place(digit(1), digit(2));
    let text = String::from_utf8_lossy(arguments.get(3..).unwrap_or_default()).into_owned();
    match arguments.first().copied().unwrap_or_default() {
        b's' => TtsCommand::Speak { on, text },
        b'f' => TtsCommand::Flush { on },
        b'F' => TtsCommand::Finish { on },
        b'c' => TtsCommand::Cancel { voice: 0, context: on.context },
        b'h' => TtsCommand::HangUp { voice: 0 },
        b'r' => TtsCommand::Reserve { voice: 0, context: on.context, within: Duration::from_secs(1), ahead: false },
        b'p' => {
            let length = Duration::from_secs(1);
            TtsCommand::Play { on, clip: Clip::Tones(text), times: 1, from: Duration::ZERO, length }
        }
        _ => TtsCommand::Dial { voice: 0 },
    }
}

/// What a vendor says while it hears. The first byte says which vendor.
pub fn hearing(input: &[u8]) {
    let [vendor, script @ ..] = input else { return };
    let settings = &RECOGNISERS[usize::from(*vendor) % RECOGNISERS.len()];
    let dialect = settings.dialect(MediaFormat::TELEPHONE).expect("a telephone's format");
    let (_, mut link) = dialect.dial(None);
    for line in lines(script) {
        match line {
            Line::Message(message) => {
                if let HearingEvent::Failed(fault) | HearingEvent::Down(fault) = link.decode(message) {
                    assert!(fault.reason.len() <= 4_096, "a reason of {} bytes", fault.reason.len());
                }
            }
            Line::Command(arguments) => {
                let command = match arguments.first().copied().unwrap_or_default() {
                    b'a' => HearingCommand::Audio { link: 1, audio: Bytes::copy_from_slice(&arguments[1..]) },
                    b'f' => HearingCommand::Finalise { link: 1 },
                    b'k' => HearingCommand::KeepAlive { link: 1 },
                    b'c' => HearingCommand::Close { link: 1 },
                    _ => HearingCommand::Dial { link: 1, language: None },
                };
                link.encode(&command, &mut |message| assert_json(&message));
            }
        }
    }
}
