//! Short conversations, each about one thing: what the caller says is written down, and agents answer it. They go on where
//! `scenarios.rs` ends, on the same clock.
//!
//! What whoever writes down the caller's words and an app say stands here in their own words, at the time at which it
//! arrives with us. A link for hearing is dialled when the stream begins, at 20 ms, and made 60 ms later; an app is there at
//! 40 ms. Callers are recordings: what is written down of them is what they say, when `fixtures/audio/transcripts.toml` says
//! that they do and the vendor has had time to think.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use trunkline::call::event::SpeechEvent;
use trunkline::call::settings::{Hearing, Interruptible, Joins, TurnEnd};
use trunkline::dialect::hearing::{Access, deepgram, flux, gradium, ink};
use trunkline::dialect::relay;
use trunkline::tape;

use crate::plan::Step;
use crate::scene::Scene;
use crate::session::Body;
use trunkline::secret::Secret;

const GREETING: &str = "Good morning and welcome to the northern lighthouse museum.";
/// Audio in one message to whoever writes it down.
const PIECE: Duration = Duration::from_millis(80);

/// Every scene, in the order of `fixtures/calls/README.md`.
pub(crate) fn scenes() -> Vec<Scene> {
    [hearing(), models(), apps(), uninterruptible()].into_iter().flatten().collect()
}

impl Scene {
    /// What the caller says is written down.
    fn hears(self, (hearing, language): (Hearing, tape::Hearing)) -> Self {
        let scene = self.plan(|plan| {
            plan.talk.conversation.hearing = Some(hearing);
            plan.talk.hearing = Some(language);
        });
        scene.on_link(80, 1, Body::Up)
    }

    /// Something comes on a link for hearing.
    fn on_link(self, ms: u64, link: u32, body: Body) -> Self {
        self.step(ms, Step::Hearing(link, body))
    }

    /// Whoever writes down what the caller says reports something.
    fn heard(self, ms: u64, link: u32, message: &Value) -> Self {
        self.on_link(ms, link, Body::Text(message.to_string()))
    }

    /// An app outside this process answers.
    fn app(self, change: impl FnOnce(&mut relay::Settings)) -> Self {
        let mut settings = app_settings();
        change(&mut settings);
        let scene = self.plan(|plan| plan.talk.app = Some(tape::Agent::Relay(Box::new(settings))));
        scene.step(40, Step::App(Body::Up))
    }

    /// The app sends something.
    fn app_says(self, ms: u64, message: &Value) -> Self {
        self.step(ms, Step::App(Body::Text(message.to_string())))
    }

    /// The caller speaks; nobody has to hear it in the audio.
    fn speaks(self, from_ms: u64, to_ms: u64) -> Self {
        self.step(from_ms, Step::Speech(SpeechEvent::Started)).step(to_ms, Step::Speech(SpeechEvent::Stopped))
    }
}

fn app_settings() -> relay::Settings {
    let setup = relay::Setup {
        session_id: "VX5ca1ab1e00000000000000000000000d".to_owned(),
        account_sid: "AC5ca1ab1e00000000000000000000000c".to_owned(),
        call_sid: "CA5ca1ab1e00000000000000000000000b".to_owned(),
        from: "+15550100001".to_owned(),
        to: "+15550100002".to_owned(),
        call_type: "PSTN".to_owned(),
        direction: "inbound".to_owned(),
        call_status: "RINGING".to_owned(),
        ..relay::Setup::default()
    };
    relay::Settings {
        url: "wss://app.example/relay".to_owned(),
        signature: None,
        setup,
        started_ms: 1_760_000_000_000,
        greeting: String::new(),
        greeting_interruptible: Interruptible::Any,
        interruptible: Interruptible::Any,
        preemptible: false,
        dtmf: true,
        partials: false,
        speaker_events: false,
        tokens_played: false,
        voice: None,
        speech_language: None,
        hearing_language: None,
        languages: BTreeMap::new(),
    }
}

fn access() -> Access {
    Access { url: "wss://stt.example/listen".to_owned(), api_key: Secret::default() }
}

fn listening(name: &'static str, joins: Joins, turn_end: TurnEnd) -> Hearing {
    Hearing {
        name: name.into(),
        language: None,
        joins,
        turn_end,
        eager: false,
        partials: false,
        session: None,
        last_words: Duration::from_secs(1),
        keep_alive: Duration::from_secs(4),
    }
}

fn by_deepgram() -> (Hearing, tape::Hearing) {
    let language = tape::Hearing::Deepgram(Box::new(deepgram::Settings {
        access: access(),
        model: "nova-3".to_owned(),
        language: Some("en".to_owned()),
        keyterms: Vec::new(),
        endpointing: Duration::from_millis(300),
        utterance_end: Duration::from_secs(1),
        smart_format: true,
        piece: PIECE,
    }));
    (Hearing { partials: true, ..listening("deepgram", Joins::Space, TurnEnd::Silence) }, language)
}

fn by_flux() -> (Hearing, tape::Hearing) {
    let language = tape::Hearing::DeepgramFlux(Box::new(flux::Settings {
        access: access(),
        model: "flux-general-en".to_owned(),
        language: None,
        keyterms: Vec::new(),
        end_threshold: None,
        eager_end_threshold: None,
        end_timeout: None,
        piece: PIECE,
    }));
    (listening("deepgram-flux", Joins::Space, TurnEnd::Vendor), language)
}

fn by_ink(endpoint: ink::Endpoint) -> (Hearing, tape::Hearing) {
    let language = tape::Hearing::Cartesia(Box::new(ink::Settings {
        access: access(),
        endpoint,
        version: "2026-03-01".to_owned(),
        model: "ink-2".to_owned(),
        language: None,
        keyterms: Vec::new(),
        start_threshold: None,
        eager_end_threshold: None,
        end_threshold: None,
        end_timeout: None,
        piece: PIECE,
    }));
    let hearing = match endpoint {
        ink::Endpoint::Turns => listening("cartesia", Joins::Space, TurnEnd::Vendor),
        ink::Endpoint::Manual => listening("cartesia", Joins::Verbatim, TurnEnd::Silence),
    };
    (hearing, language)
}

/// A session of Gradium's ends after five minutes.
fn by_gradium() -> (Hearing, tape::Hearing) {
    let language = tape::Hearing::Gradium(Box::new(gradium::Settings {
        access: access(),
        model: "default".to_owned(),
        language: Some("en".to_owned()),
        delay_frames: None,
        quiet_threshold: 0.5,
        quiet_steps: 3,
        piece: PIECE,
    }));
    let session = Some(Duration::from_secs(270));
    (Hearing { session, ..listening("gradium", Joins::Space, TurnEnd::Silence) }, language)
}

/// A message of Deepgram's about a stretch of audio. `is_final` and `speech_final` are its own words.
fn results(transcript: &str, is_final: bool, speech_final: bool) -> Value {
    json!({"type": "Results", "channel_index": [0, 1], "start": 0.0, "duration": 1.5, "is_final": is_final,
        "speech_final": speech_final, "from_finalize": false,
        "channel": {"alternatives": [{"transcript": transcript, "confidence": 0.98, "words": []}]}})
}

/// A message of Flux's about the caller's turn.
fn turn_info(event: &str, transcript: &str) -> Value {
    json!({"type": "TurnInfo", "request_id": "r-1", "sequence_id": 4, "event": event, "turn_index": 0,
        "audio_window_start": 0.0, "audio_window_end": 1.2, "transcript": transcript, "words": [],
        "end_of_turn_confidence": 0.1})
}

/// A message of Ink's that is told when to finalise.
fn transcript(text: &str) -> Value {
    json!({"type": "transcript", "request_id": "r-1", "text": text, "is_final": true, "duration": 1.2, "language": "en"})
}

/// Gradium's word.
fn word(text: &str) -> Value {
    json!({"type": "text", "text": text, "start_s": 0.56, "stream_id": 0})
}

/// A message of Ink's that finds turns.
fn turn(kind: &str, transcript: &str) -> Value {
    let mut message = json!({"type": format!("turn.{kind}"), "request_id": "r-1"});
    if !transcript.is_empty() {
        message["transcript"] = transcript.into();
    }
    message
}

/// A whole talk cycle of an app.
fn text(token: &str) -> Value {
    json!({"type": "text", "token": token, "last": true})
}

/// The same with a word about what may cut it off.
fn text_that(flag: &str, may: bool, token: &str) -> Value {
    json!({"type": "text", "token": token, "last": true, flag: may})
}

fn hearing() -> Vec<Scene> {
    let mut flushed = results("", true, false);
    flushed["from_finalize"] = true.into();
    vec![
        Scene::new("partial-transcript-changes", 6_500)
            .hears(by_deepgram())
            .app(|app| app.partials = true)
            .caller(1_000, "question")
            .heard(1_700, 1, &results("Which fall", false, false))
            .heard(2_300, 1, &results("Which folder should", false, false))
            .heard(3_000, 1, &results("Which folder should I save the", false, false))
            .heard(3_300, 1, &results("Which folder should I save the", true, false))
            .heard(3_700, 1, &results("message too", false, false))
            .heard(4_060, 1, &results("message to?", true, true))
            .heard(4_700, 1, &flushed)
            .app_says(4_900, &text("The inbox, please.")),
        Scene::new("hearing-lost-mid-utterance", 7_500)
            .hears(by_flux())
            .caller(1_000, "long")
            .heard(1_400, 1, &turn_info("StartOfTurn", "I'm"))
            .heard(2_000, 1, &turn_info("Update", "I'm sorry, but"))
            .heard(2_600, 1, &turn_info("Update", "I'm sorry, but I was una"))
            .on_link(2_700, 1, Body::Closed { code: Some(1011), reason: String::new() })
            .on_link(3_600, 2, Body::Up)
            .heard(3_800, 2, &turn_info("StartOfTurn", "but I was unable"))
            .heard(4_400, 2, &turn_info("Update", "but I was unable to locate the person"))
            .heard(5_600, 2, &turn_info("EndOfTurn", "but I was unable to locate the person you are calling."))
            .say(5_900, 1, "Who is it?"),
        sessions(),
    ]
}

/// Twelve minutes, of which the caller is silent for most: three sessions are replaced, one of them while he speaks. To keep
/// the tape small, his line is silence of which only every 25th frame is sent, with next to nothing in it, and his speech is
/// told by a detector of its own.
fn sessions() -> Scene {
    const STORY: &str =
        "First we saw the boats come in, and the women who mend the nets, and then we walked along the old har";
    let flushed = json!({"type": "flushed", "flush_id": 1});
    Scene::new("sessions-rolled-over", 720_000)
        .plan(|plan| (plan.quiet_bytes, plan.quiet_every) = (4, 25))
        .hears(by_gradium())
        .say(200, 1, "Tell me about it.")
        .speaks(5_000, 7_900)
        .writes(1, (5_600, 7_100), "We came by train.")
        .heard(8_000, 1, &flushed)
        .say(8_400, 2, "Go on.")
        // The first session is old enough at 216.080 s, in a pause. Its successor takes over with the next audio.
        .on_link(216_600, 2, Body::Up)
        .speaks(230_000, 232_900)
        .writes(2, (230_600, 232_100), "It rained all day.")
        .heard(233_000, 2, &flushed)
        .say(233_400, 3, "And then?")
        // The second one would be from 432.6 s on, but he speaks. From 459.6 s on that counts no more, and at 478.5 s he is
        // waited for no longer.
        .speaks(430_000, 482_900)
        .writes(2, (430_600, 478_700), STORY)
        .on_link(460_120, 3, Body::Up)
        .writes(3, (479_200, 482_200), "old harbour to the lighthouse.")
        .on_link(480_000, 2, Body::Closed { code: Some(1000), reason: String::new() })
        .heard(483_000, 3, &flushed)
        .say(483_400, 4, "How lovely.")
        .on_link(676_620, 4, Body::Up)
        .speaks(700_000, 701_900)
        .writes(4, (700_600, 700_600), "Goodbye.")
        .heard(702_000, 4, &flushed)
        .say(702_400, 5, "Goodbye.")
}

impl Scene {
    /// Word after word is written down on a link, evenly from the first to the last.
    fn writes(self, link: u32, (from_ms, to_ms): (u64, u64), text: &str) -> Self {
        let words: Vec<&str> = text.split(' ').collect();
        let step_ms = (to_ms - from_ms) / (words.len() as u64 - 1).max(1);
        (0..).zip(words).fold(self, |scene, (n, text)| scene.heard(from_ms + n * step_ms, link, &word(text)))
    }
}

fn models() -> Vec<Scene> {
    vec![
        // The model looks something up, and the caller does not wait for it.
        Scene::new("interrupted-during-tool-call", 8_500)
            .hears(by_ink(ink::Endpoint::Manual))
            .piece(200, 1, "Let me look that up. ", false, None)
            .flush(600, 1)
            .caller(2_200, "question")
            .piece(2_750, 1, "We have two rooms left.", true, None)
            .heard(4_300, 1, &transcript("Which folder should I "))
            .heard(5_300, 1, &transcript("save the message to?"))
            .heard(5_800, 1, &json!({"type": "flush_done", "request_id": "r-1"}))
            .say(6_200, 2, "The inbox, please."),
        // The model's stream breaks; what follows is the agent's own line for that.
        Scene::new("model-fails-mid-turn", 7_200)
            .stream(200, 1, &["Your", " table", " is", " booked", " for"])
            .piece(900, 1, " I am sorry, I lost my thread.", true, None)
            .say(4_600, 2, "Your table is booked for nine."),
    ]
}

fn apps() -> Vec<Scene> {
    let clip = json!({"type": "play", "source": "https://media.example/hold-30s.wav", "loop": 1});
    let mut nonsense = Scene::new("app-makes-no-sense", 6_000).app(|_| ()).app_says(200, &text("Let me look."));
    for n in 0..9 {
        nonsense = nonsense.app_says(400 + 20 * n, &json!({"type": "text", "text": "Which field was it?"}));
    }
    // A message that is understood begins the count again.
    nonsense = nonsense.app_says(600, &text("One moment."));
    for n in 0..10 {
        nonsense = nonsense.app_says(700 + 20 * n, &json!({"type": "say", "token": "Hello?"}));
    }
    vec![
        Scene::new("preemptible-cycles", 5_500)
            .app(|_| ())
            .app_says(200, &text_that("preemptible", true, GREETING))
            .app_says(1_500, &text("Please hold the line."))
            .app_says(2_000, &text("It takes a minute.")),
        Scene::new("play-interrupted", 6_500)
            .app(|_| ())
            .hears(by_ink(ink::Endpoint::Turns))
            .app_says(200, &clip)
            .caller(1_300, "question")
            .heard(1_700, 1, &turn("start", ""))
            .heard(2_400, 1, &turn("update", "Which folder should"))
            .heard(4_400, 1, &turn("end", "Which folder should I save the message to?"))
            .app_says(4_700, &text("The inbox.")),
        Scene::new("end-while-speaking", 4_000)
            .app(|_| ())
            .app_says(200, &text(GREETING))
            .app_says(1_500, &json!({"type": "end", "handoffData": "{\"reasonCode\":\"live-agent-handoff\"}"})),
        Scene::new("app-lost", 6_500)
            .app(|_| ())
            .app_says(200, &text("Let me look that up."))
            .step(800, Step::App(Body::Closed { code: Some(1011), reason: String::new() })),
        nonsense,
        markdown(),
    ]
}

/// What is written for the eye is spoken for the ear, and what was heard is told as it was written.
fn markdown() -> Scene {
    let tokens =
        ["## Open", "ing hours\n\n- **Mon", "day**: from nine\n- _Sunday_: ", "closed \u{1F62A}\n\nSee [our", " site]"];
    let mut scene = Scene::new("markdown-is-not-spoken", 9_000).app(|_| ());
    for (n, token) in (0..).zip(tokens) {
        scene = scene.app_says(200 + 20 * n, &json!({"type": "text", "token": token}));
    }
    scene
        .app_says(300, &text("(https://museum.example/hours) for more of it."))
        .step(4_700, Step::Digit('1'))
        .app_says(5_400, &text("You chose `one`."))
}

/// The caller speaks and presses a key while something is said that neither may cut off. What of it the app is told is the
/// operator's choice; what is said later is always told.
fn uninterruptible() -> Vec<Scene> {
    let scene = |name, reported| {
        Scene::new(name, 7_500)
            .plan(|plan| plan.talk.conversation.reported_during_speech = reported)
            .app(|_| ())
            .hears(by_ink(ink::Endpoint::Turns))
            .app_says(200, &text_that("interruptible", false, "This call may be recorded for quality and training."))
            .caller(900, "thank-you")
            .heard(1_150, 1, &turn("start", ""))
            .step(1_300, Step::Digit('5'))
            .heard(1_500, 1, &turn("update", "Thank"))
            .heard(2_300, 1, &turn("end", "Thank you."))
            .caller(4_000, "hello")
            .heard(4_400, 1, &turn("start", ""))
            .step(4_600, Step::Digit('6'))
            .heard(5_300, 1, &turn("end", "Hello."))
            .app_says(5_500, &text("How can I help?"))
    };
    vec![
        scene("uninterruptible-reports-none", Interruptible::None),
        scene("uninterruptible-reports-dtmf", Interruptible::Dtmf),
        scene("uninterruptible-reports-speech", Interruptible::Speech),
        scene("uninterruptible-reports-any", Interruptible::Any),
    ]
}
