//! The gateway's side of a call, as production and replay know it.

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;
use std::time::Duration;

use trunkline::audio::Encoding;
use trunkline::call::settings::{self, Buffering, Limits, OnFailure, Playout, Settings, Voice};
use trunkline::dialect::speech::cartesia;
pub(crate) use trunkline::dialect::{Body, Input, Port, Refusal};
use trunkline::ids::StreamSid;
pub(crate) use trunkline::replay::{Sent, Session, ToVoice};
use trunkline::tape::{self, Audio, Carrier, Text, Wakes};
pub(crate) use trunkline::tape::{Entry, Header, What};

use crate::plan::Plan;
use crate::twilio::STREAM;

/// What a caller hears when speech failed for good.
pub(crate) const FALLBACK: &str = "I am sorry, I cannot speak just now.";

/// What is asked of the first voice; `rate` is `None` for the carrier's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) encoding: Encoding,
    pub(crate) rate: Option<u32>,
    pub(crate) buffering: Buffering,
}

/// The header of a call with a vendor and the voice in this process, or with that alone.
pub(crate) fn header(plan: &Plan) -> Header {
    let wanted = plan.wanted;
    let local = Voice::plain("local", Encoding::PcmS16Le, Some(8_000));
    let vendor = wanted.map(|wanted| Voice {
        buffering: wanted.buffering,
        context_idle: Some(Duration::from_millis(800)),
        ..Voice::plain("cartesia", wanted.encoding, wanted.rate)
    });
    let language = wanted.map(|wanted| tape::Voice::Cartesia {
        stream: StreamSid::parse(STREAM).unwrap(),
        settings: Box::new(cartesia::Settings {
            url: "wss://tts.example/tts/websocket".to_owned(),
            api_key: String::new(),
            version: "2026-03-01".to_owned(),
            model: "sonic-3.5".to_owned(),
            voice: "5c5ad5e7-1020-476b-8b91-fdcbe9cc313c".to_owned(),
            language: "en".to_owned(),
            speed: None,
            volume: None,
            emotion: None,
            buffering: wanted.buffering,
        }),
    });
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
