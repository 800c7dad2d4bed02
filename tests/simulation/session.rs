//! The gateway's side of a call, as production and replay know it.

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;
use std::time::Duration;

use trunkline::audio::{Encoding, SourceFormat};
use trunkline::call::settings::{self, Buffering, Cancel, Limits, OnFailure, Playout, Settings, Voice};
use trunkline::dialect::speech::{cartesia, elevenlabs, gradium, rime};
pub(crate) use trunkline::dialect::{Body, Input, Port, Refusal};
use trunkline::ids::StreamSid;
pub(crate) use trunkline::replay::{Sent, Session, ToVoice};
use trunkline::tape::{self, Audio, Carrier, Text, Wakes};
pub(crate) use trunkline::tape::{Entry, Header, What};

use crate::plan::Plan;
use crate::tongues::Brand;
use crate::twilio::STREAM;
use trunkline::secret::Secret;

/// What a caller hears when speech failed for good.
pub(crate) const FALLBACK: &str = "I am sorry, I cannot speak just now.";

/// What is asked of the first voice; `rate` is `None` for the carrier's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) encoding: Encoding,
    pub(crate) rate: Option<u32>,
    pub(crate) buffering: Buffering,
    pub(crate) brand: Brand,
}

impl Wanted {
    /// The same of another vendor, as far as that one can.
    pub(crate) fn by(self, brand: Brand) -> Self {
        match brand {
            Brand::Cartesia => Wanted { brand, ..self },
            Brand::Gradium => Wanted { brand, buffering: Buffering::Gateway, ..self },
            // Format and rate stand in the URL.
            Brand::Elevenlabs => {
                Wanted { brand, buffering: Buffering::Gateway, rate: Some(self.rate.unwrap_or(8_000)), ..self }
            }
            Brand::Rime => Wanted { brand, encoding: Encoding::PcmS16Le, ..self.by(Brand::Elevenlabs) },
        }
    }

    /// What the core knows of the voice, as the configuration has it.
    fn voice(self) -> Voice {
        let Wanted { encoding, rate, buffering, brand } = self;
        match brand {
            Brand::Cartesia => Voice {
                buffering,
                context_idle: Some(Duration::from_millis(800)),
                ..Voice::plain("cartesia", encoding, rate)
            },
            Brand::Gradium => Voice {
                context_age: Some(Duration::from_secs(270)),
                cancel: Cancel::Awaited,
                ..Voice::plain("gradium", encoding, rate)
            },
            Brand::Elevenlabs => Voice {
                context_idle: Some(Duration::from_secs(120)),
                contexts: Some(elevenlabs::CONTEXTS_MAX),
                cancel: Cancel::Awaited,
                ..Voice::plain("elevenlabs", encoding, rate)
            },
            Brand::Rime => {
                Voice { contexts: Some(1), cancel: Cancel::Reconnect, ..Voice::plain("rime", encoding, rate) }
            }
        }
    }

    fn language(self) -> tape::Voice {
        let stream = StreamSid::parse(STREAM).unwrap();
        let format = SourceFormat { encoding: self.encoding, rate: self.rate.unwrap_or(8_000) };
        let url = "wss://tts.example".to_owned();
        match self.brand {
            Brand::Cartesia => tape::Voice::Cartesia {
                stream,
                settings: Box::new(cartesia::Settings {
                    url: "wss://tts.example/tts/websocket".to_owned(),
                    api_key: Secret::default(),
                    version: "2026-03-01".to_owned(),
                    model: "sonic-3.5".to_owned(),
                    voice: "5c5ad5e7-1020-476b-8b91-fdcbe9cc313c".to_owned(),
                    language: "en".to_owned(),
                    speed: None,
                    volume: None,
                    emotion: None,
                    buffering: self.buffering,
                }),
            },
            Brand::Gradium => tape::Voice::Gradium {
                stream,
                settings: Box::new(gradium::Settings {
                    url,
                    api_key: Secret::default(),
                    model: "default".to_owned(),
                    voice: "YTpq7expH9539ERJ".to_owned(),
                    json_config: serde_json::Map::new(),
                }),
            },
            Brand::Elevenlabs => tape::Voice::Elevenlabs {
                stream,
                settings: Box::new(elevenlabs::Settings {
                    url,
                    api_key: Secret::default(),
                    model: "eleven_flash_v2_5".to_owned(),
                    voice: "JBFqnCBsd6RMkjVDRZzb".to_owned(),
                    language: None,
                    format,
                    stability: None,
                    similarity_boost: None,
                    speed: None,
                    buffering: self.buffering,
                }),
            },
            Brand::Rime => tape::Voice::Rime {
                stream,
                settings: Box::new(rime::Settings {
                    url,
                    api_key: Secret::default(),
                    model: "mistv2".to_owned(),
                    voice: "cove".to_owned(),
                    format,
                }),
            },
        }
    }
}

/// The header of a call with a vendor and the voice in this process, or with that alone.
pub(crate) fn header(plan: &Plan) -> Header {
    let wanted = plan.wanted;
    let local = Voice::plain("local", Encoding::PcmS16Le, Some(8_000));
    let vendor = wanted.map(Wanted::voice);
    let language = wanted.map(Wanted::language);
    Header {
        tape: tape::FORMAT,
        trunkline: env!("CARGO_PKG_VERSION").to_owned(),
        wakes: Wakes::Recorded,
        text: Text::Keep,
        audio: Audio::Keep,
        settings: Settings {
            voices: vendor.into_iter().chain([local]).collect(),
            chain: 1,
            fallback_line: FALLBACK.to_owned(),
            on_failure: OnFailure::Continue,
            playout: Playout::default(),
            interruptible: plan.interruptible,
            detector: plan.detector,
            limits: Limits::default(),
            text: settings::Text::default(),
            seed: plan.seed,
            conversation: plan.talk.conversation.clone(),
            phrases: plan.talk.phrases.iter().map(|(phrase, _)| phrase.clone()).collect(),
        },
        carrier: Carrier::Twilio,
        voices: language.into_iter().chain([tape::Voice::Local]).collect(),
        hearing: plan.talk.hearing.clone(),
        agent: plan.talk.app.clone(),
    }
}

/// Writes a tape.
pub(crate) fn write(path: &Path, header: &Header, entries: &[Entry]) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut file = io::BufWriter::new(fs::File::create(path)?);
    writeln!(file, "{}", serde_json::to_string(header)?)?;
    for entry in entries {
        writeln!(file, "{}", serde_json::to_string(entry)?)?;
    }
    file.flush()
}
