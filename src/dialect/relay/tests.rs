use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::call::action::EndReason;
use crate::call::event::{Clip, Delivery, Fault, FaultKind, Play, Say};
use crate::call::settings::Interruptible;
use crate::secret::Secret;

fn settings() -> Settings {
    Settings {
        url: "wss://app.example.com/relay?tenant=acme".to_owned(),
        signature: Some(Secret::new("c2lnbmVk")),
        setup: Setup { session_id: "VX1".to_owned(), from: "+15550100001".to_owned(), ..Setup::default() },
        started_ms: 1_752_091_234_000,
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

/// A session that has begun.
fn relay(settings: Settings) -> Relay {
    let mut relay = Relay::new(settings);
    let setup = told(&mut relay, 0, &AgentReport::Connected);
    assert_eq!(setup[0]["type"], "setup");
    relay
}

fn outgoing(relay: &mut Relay, at_ms: u64, report: &AgentReport) -> Vec<Outgoing> {
    let mut sent = Vec::new();
    relay.encode(CallTime::from_millis(at_ms), report, &mut |message| sent.push(message));
    sent
}

fn told(relay: &mut Relay, at_ms: u64, report: &AgentReport) -> Vec<Value> {
    let texts = outgoing(relay, at_ms, report).into_iter().map(|message| match message {
        Outgoing::Text(text) => serde_json::from_str(&text).unwrap(),
        other => panic!("{other:?}"),
    });
    texts.collect()
}

fn said(relay: &mut Relay, message: Value) -> AgentEvent {
    relay.decode(Message::Text(&message.to_string()))
}

fn say(relay: &mut Relay, message: Value) -> Say {
    match said(relay, message) {
        AgentEvent::Say(say) => say,
        other => panic!("{other:?}"),
    }
}

fn token(text: &str, last: bool) -> Value {
    json!({"type": "text", "token": text, "last": last})
}

fn prompt(text: &str, last: bool) -> AgentReport {
    AgentReport::Prompt { text: text.to_owned(), last, language: None }
}

fn heard(text: &str, ms: u64) -> Heard {
    Heard { text: text.to_owned(), played: Duration::from_millis(ms), ..Heard::default() }
}

fn interrupted(turn: u32, cause: Cause, queued: bool) -> AgentReport {
    AgentReport::Interrupted { turn: TurnId(turn), heard: heard("We open at", 460), cause, queued }
}

fn over(turn: u32, text: &str) -> AgentReport {
    AgentReport::TurnOver { turn: TurnId(turn), heard: heard(text, 900) }
}

fn first_audio(turn: u32) -> AgentReport {
    AgentReport::FirstAudio { turn: TurnId(turn), first_byte: Duration::ZERO }
}

#[test]
fn the_request_is_signed_if_there_is_a_token_to_sign_with() {
    let handshake = Relay::new(settings()).handshake();
    assert_eq!(handshake.url, "wss://app.example.com/relay?tenant=acme");
    assert_eq!(handshake.headers, [("x-twilio-signature", Secret::new("c2lnbmVk"))]);
    assert!(Relay::new(Settings { signature: None, ..settings() }).handshake().headers.is_empty());
}

#[test]
fn setup_is_the_first_message_whatever_happened_before() {
    let mut relay = Relay::new(settings());
    assert_eq!(told(&mut relay, 10, &AgentReport::Digit('7')), Vec::<Value>::new());
    assert_eq!(told(&mut relay, 20, &prompt("Hello?", true)), Vec::<Value>::new());
    let messages = told(&mut relay, 30, &AgentReport::Connected);
    let types: Vec<&str> = messages.iter().map(|message| message["type"].as_str().unwrap()).collect();
    assert_eq!(types, ["setup", "dtmf", "prompt"]);
    assert_eq!((&messages[0]["sessionId"], &messages[0]["from"]), (&json!("VX1"), &json!("+15550100001")));
    assert_eq!(messages[0].as_object().unwrap().len(), 13);
    assert_eq!(told(&mut relay, 40, &AgentReport::Connected), Vec::<Value>::new());
}

#[test]
fn what_waits_for_setup_is_bounded() {
    let mut relay = Relay::new(settings());
    for _ in 0..2 * WAITING_MAX {
        told(&mut relay, 0, &AgentReport::Digit('1'));
    }
    assert_eq!(told(&mut relay, 0, &AgentReport::Connected).len(), 1 + WAITING_MAX);
}

#[test]
fn the_greeting_is_the_first_turn_with_a_policy_of_its_own() {
    assert_eq!(Relay::new(settings()).connected(), AgentEvent::Up { greeting: None });
    let greeting = Settings {
        greeting: "Hello!".to_owned(),
        greeting_interruptible: Interruptible::Dtmf,
        preemptible: true,
        ..settings()
    };
    let mut relay = Relay::new(greeting);
    let AgentEvent::Up { greeting: Some(say) } = relay.connected() else { panic!("no greeting") };
    assert_eq!((say.turn, say.text.as_str(), say.last), (TurnId(1), "Hello!", true));
    assert_eq!((say.interruptible, say.preemptible), (Some(Interruptible::Dtmf), Some(false)));
    assert_eq!(self::say(&mut relay, token("Next.", true)).turn, TurnId(2));
}

#[test]
fn a_talk_cycle_is_a_turn_and_its_tokens_are_verbatim() {
    let mut relay = relay(settings());
    let mut turns = Vec::new();
    for (text, last) in [(" We", false), (" open  at\n", false), ("nine.", true), ("Bye", false), ("", true)] {
        let say = say(&mut relay, token(text, last));
        assert_eq!((say.text.as_str(), say.last, say.flush), (text, last, false));
        turns.push(say.turn.0);
    }
    assert_eq!(turns, [1, 1, 1, 2, 2]);
}

#[test]
fn an_empty_token_begins_nothing() {
    let mut relay = relay(settings());
    assert_eq!(said(&mut relay, token("", false)), AgentEvent::Ignored);
    assert_eq!(say(&mut relay, token("One.", true)).turn, TurnId(1));
    assert_eq!(said(&mut relay, token("", true)), AgentEvent::Ignored);
    assert_eq!(say(&mut relay, token("Two.", true)).turn, TurnId(2));
}

#[test]
fn the_flags_of_a_text_go_before_those_of_the_noun() {
    let flags = |noun, preemptible, message: Value| {
        let mut relay = relay(Settings { interruptible: noun, preemptible, ..settings() });
        let say = say(&mut relay, message);
        (say.interruptible, say.preemptible)
    };
    let with = |name: &str, value: bool| json!({"type": "text", "token": "x", name: value});
    let plain = token("x", false);
    assert_eq!(flags(Interruptible::Speech, true, plain.clone()), (None, Some(true)));
    assert_eq!(flags(Interruptible::Speech, false, plain), (None, Some(false)));
    assert_eq!(flags(Interruptible::Any, false, with("interruptible", false)).0, Some(Interruptible::None));
    assert_eq!(flags(Interruptible::Dtmf, false, with("interruptible", true)).0, Some(Interruptible::Dtmf));
    assert_eq!(flags(Interruptible::None, false, with("interruptible", true)).0, Some(Interruptible::Any));
    assert_eq!(flags(Interruptible::Any, false, with("preemptible", true)).1, Some(true));
    assert_eq!(flags(Interruptible::Any, true, with("preemptible", false)).1, Some(false));
    // Within a cycle, what holds stays unless a token says otherwise.
    let mut relay = relay(Settings { preemptible: true, ..settings() });
    say(&mut relay, with("preemptible", false));
    assert_eq!(say(&mut relay, token("y", false)).preemptible, None);
    assert_eq!(say(&mut relay, with("preemptible", true)).preemptible, Some(true));
}

#[test]
fn a_language_holds_for_its_token_alone() {
    let languages = BTreeMap::from([("sv-SE".to_owned(), "elin".to_owned())]);
    let mut relay = relay(Settings { speech_language: Some("en-GB".to_owned()), languages, ..settings() });
    let delivery = |voice: Option<&str>, language: &str| {
        let (voice, language) = (voice.map(str::to_owned), Some(language.to_owned()));
        Some(Arc::new(Delivery { voice, language, ..Delivery::default() }))
    };
    let swedish = json!({"type": "text", "token": "Hej.", "lang": "SV-se"});
    assert_eq!(say(&mut relay, token("Hello.", false)).delivery, delivery(None, "en"));
    assert_eq!(say(&mut relay, token("Well.", false)).delivery, None);
    assert_eq!(say(&mut relay, swedish.clone()).delivery, delivery(Some("elin"), "sv"));
    assert_eq!(say(&mut relay, swedish).delivery, delivery(Some("elin"), "sv"));
    assert_eq!(say(&mut relay, token("And so on.", true)).delivery, delivery(None, "en"));
    // Of several to be found out, no voice can be told one.
    let multi = json!({"type": "text", "token": "Hej.", "lang": "multi", "last": true});
    assert_eq!(say(&mut relay, multi).delivery, Some(Arc::default()));
}

#[test]
fn a_language_message_holds_from_the_next_cycle_on() {
    let mut relay = relay(Settings { hearing_language: Some("en-GB".to_owned()), ..settings() });
    say(&mut relay, token("Hello.", false));
    let message = json!({"type": "language", "ttsLanguage": "fr-FR", "transcriptionLanguage": "sv-SE"});
    let expected = AgentEvent::Language { speech: Some("fr".to_owned()), hearing: Some("sv-SE".to_owned()) };
    assert_eq!(told(&mut relay, 0, &prompt("Hi", true))[0]["lang"], "en-GB");
    assert_eq!(said(&mut relay, message), expected);
    assert_eq!(say(&mut relay, token(" And on.", true)).delivery, None);
    let next = say(&mut relay, token("Bonjour.", true)).delivery.unwrap();
    assert_eq!(next.language.as_deref(), Some("fr"));
    assert_eq!(told(&mut relay, 0, &prompt("Hej", true))[0]["lang"], "sv-SE");
    // One of the two alone leaves the other.
    let expected = AgentEvent::Language { speech: None, hearing: Some("de-DE".to_owned()) };
    assert_eq!(said(&mut relay, json!({"type": "language", "transcriptionLanguage": "de-DE"})), expected);
    assert_eq!(say(&mut relay, token("Oui.", true)).delivery.unwrap().language.as_deref(), Some("fr"));
}

#[test]
fn what_comes_of_a_cut_cycle_belongs_to_it_until_its_last_token() {
    let mut relay = relay(settings());
    assert_eq!(say(&mut relay, token("We open", false)).turn, TurnId(1));
    told(&mut relay, 0, &interrupted(1, Cause::Speech, false));
    assert_eq!(say(&mut relay, token(" at nine", false)).turn, TurnId(1));
    assert_eq!(say(&mut relay, token(".", true)).turn, TurnId(1));
    assert_eq!(say(&mut relay, token("Yes?", true)).turn, TurnId(2));
}

#[test]
fn the_answer_to_a_prompt_is_a_new_cycle_even_if_the_cut_one_never_ended() {
    let mut relay = relay(Settings { partials: true, ..settings() });
    say(&mut relay, token("We open", false));
    told(&mut relay, 0, &interrupted(1, Cause::Speech, false));
    told(&mut relay, 0, &prompt("No", false));
    assert_eq!(say(&mut relay, token(" at nine", false)).turn, TurnId(1));
    told(&mut relay, 0, &prompt("No, wait", true));
    assert_eq!(say(&mut relay, token("Yes?", true)).turn, TurnId(2));
    // So it is with a key, but not with the key that did the cutting: nothing has been answered yet.
    say(&mut relay, token("We close", false));
    told(&mut relay, 0, &AgentReport::Digit('1'));
    told(&mut relay, 0, &interrupted(3, Cause::Dtmf, false));
    assert_eq!(say(&mut relay, token(" at six", false)).turn, TurnId(3));
    told(&mut relay, 0, &AgentReport::Digit('2'));
    assert_eq!(say(&mut relay, token("Two.", true)).turn, TurnId(4));
}

#[test]
fn a_prompt_does_not_end_a_cycle_that_goes_on() {
    let mut relay = relay(settings());
    say(&mut relay, token("This cannot be", false));
    told(&mut relay, 0, &prompt("Hey", true));
    assert_eq!(say(&mut relay, token(" stopped.", true)).turn, TurnId(1));
}

#[test]
fn a_cycle_that_was_left_waiting_too_long_is_followed_by_a_new_one() {
    let mut relay = relay(settings());
    say(&mut relay, token("One moment.", false));
    told(&mut relay, 0, &over(1, "One moment."));
    assert_eq!(say(&mut relay, token("Here it is.", true)).turn, TurnId(2));
}

#[test]
fn recordings_queue_as_turns() {
    let mut relay = relay(Settings { interruptible: Interruptible::Speech, preemptible: true, ..settings() });
    let mut play = |message: Value| match said(&mut relay, message) {
        AgentEvent::Play(play) => play,
        other => panic!("{other:?}"),
    };
    let url = "https://cdn.example.com/hold.mp3";
    let expected = Play {
        turn: TurnId(1),
        clip: Clip::Recording(url.to_owned()),
        times: 1,
        interruptible: None,
        preemptible: true,
    };
    assert_eq!(play(json!({"type": "play", "source": url})), expected);
    let full = json!({"type": "play", "source": url, "loop": 3, "preemptible": false, "interruptible": true});
    let interruptible = Some(Interruptible::Speech);
    assert_eq!(play(full), Play { turn: TurnId(2), times: 3, preemptible: false, interruptible, ..expected.clone() });
    assert_eq!(play(json!({"type": "play", "source": url, "loop": 0})).times, 1_000);
    assert_eq!(play(json!({"type": "play", "source": url, "loop": 100_000})).times, 1_000);
    assert_eq!(play(json!({"type": "play", "source": "HTTP://x/y", "interruptible": false})).turn, TurnId(5));
    for source in ["", "https://", "ftp://x/y", "file:///etc/passwd", "hold.mp3", "https://x/a b"] {
        let answer = said(&mut relay, json!({"type": "play", "source": source}));
        assert!(matches!(answer, AgentEvent::Malformed(_)), "{source}");
    }
}

#[test]
fn digits_are_tones_that_nobody_interrupts() {
    let mut relay = relay(settings());
    let AgentEvent::Play(play) = said(&mut relay, json!({"type": "sendDigits", "digits": "9ww42#"})) else {
        panic!("no tones")
    };
    assert_eq!((play.clip, play.times), (Clip::Tones("9ww42#".to_owned()), 1));
    assert_eq!((play.interruptible, play.preemptible), (Some(Interruptible::None), false));
    for digits in ["", "12A", "1 2", "W"] {
        let answer = said(&mut relay, json!({"type": "sendDigits", "digits": digits}));
        assert!(matches!(answer, AgentEvent::Malformed(_)), "{digits}");
    }
}

#[test]
fn the_end_carries_what_the_app_hands_on() {
    let mut relay = relay(settings());
    let data = "{\"reasonCode\":\"live-agent-handoff\"}";
    let end = said(&mut relay, json!({"type": "end", "handoffData": data}));
    assert_eq!(end, AgentEvent::End { handoff: Some(data.to_owned()) });
    assert_eq!(said(&mut relay, json!({"type": "end"})), AgentEvent::End { handoff: None });
}

#[test]
fn what_makes_no_sense_is_quoted_to_whoever_sent_it() {
    let mut relay = relay(settings());
    let mut malformed = |text: &str| match relay.decode(Message::Text(text)) {
        AgentEvent::Malformed(reason) => reason,
        other => panic!("{other:?}"),
    };
    assert_eq!(malformed(r#"{"foo":"bar"}"#), r#"Invalid message received: {"foo":"bar"}"#);
    for text in ["", "{", "[]", r#"{"type":"dance"}"#, r#"{"type":"text"}"#, r#"{"type":"language"}"#] {
        assert_eq!(malformed(text), format!("Invalid message received: {text}"));
    }
    let long = format!("{}é", "x".repeat(QUOTED_BYTES_MAX - 1));
    assert_eq!(malformed(&long), format!("Invalid message received: {}...", "x".repeat(QUOTED_BYTES_MAX - 1)));
    assert!(matches!(relay.decode(Message::Binary(b"\x01")), AgentEvent::Malformed(_)));
    let reason = "Invalid message received: {}".to_owned();
    let error = told(&mut relay, 0, &AgentReport::Refused { reason: reason.clone() });
    assert_eq!(error, [json!({"type": "error", "description": reason})]);
}

#[test]
fn an_app_that_makes_no_sense_is_dismissed_with_the_documented_words() {
    let mut relay = relay(settings());
    let close = Outgoing::Close { code: 1007, reason: "Too many consecutive malformed messages." };
    assert_eq!(outgoing(&mut relay, 0, &AgentReport::Dismissed), [close]);
    // Nothing follows a close frame.
    assert_eq!(outgoing(&mut relay, 0, &prompt("Hello?", true)), []);
    assert_eq!(outgoing(&mut relay, 0, &AgentReport::Ended(EndReason::AgentLost)), []);
}

#[test]
fn an_app_that_is_lost_is_told_nothing_more() {
    let mut relay = relay(settings());
    let fault = Fault { kind: FaultKind::Retryable, reason: "closed with code 1011".to_owned() };
    assert_eq!(outgoing(&mut relay, 0, &AgentReport::AgentLost { fault }), []);
    assert_eq!(outgoing(&mut relay, 10, &prompt("Hello?", true)), []);
    assert_eq!(outgoing(&mut relay, 20, &AgentReport::Ended(EndReason::AgentLost)), []);
}

#[test]
fn the_end_of_the_call_closes_in_good_order() {
    let mut relay = relay(settings());
    let close = Outgoing::Close { code: 1000, reason: "" };
    assert_eq!(outgoing(&mut relay, 0, &AgentReport::Ended(EndReason::CarrierStopped)), [close]);
}

#[test]
fn prompts_are_told_with_their_language() {
    let mut strict = relay(settings());
    let expected = json!({"type": "prompt", "voicePrompt": "What time?", "lang": "en-US", "last": true});
    assert_eq!(told(&mut strict, 0, &prompt("What time?", true)), [expected]);
    assert_eq!(told(&mut strict, 0, &prompt("What", false)), Vec::<Value>::new());
    let swedish = AgentReport::Prompt { text: "Hej".to_owned(), last: true, language: Some("sv".to_owned()) };
    assert_eq!(told(&mut strict, 0, &swedish)[0]["lang"], "sv");
    let mut partial = relay(Settings { partials: true, ..settings() });
    assert_eq!(told(&mut partial, 0, &prompt("What", false))[0]["last"], false);
}

#[test]
fn keys_are_told_if_the_noun_asks_for_it() {
    assert_eq!(told(&mut relay(settings()), 0, &AgentReport::Digit('#')), [json!({"type": "dtmf", "digit": "#"})]);
    let mut silent = relay(Settings { dtmf: false, ..settings() });
    assert_eq!(told(&mut silent, 0, &AgentReport::Digit('#')), Vec::<Value>::new());
}

#[test]
fn only_the_caller_interrupts() {
    let mut relay = relay(settings());
    let expected =
        json!({"type": "interrupt", "utteranceUntilInterrupt": "We open at", "durationUntilInterruptMs": 460});
    assert_eq!(told(&mut relay, 0, &interrupted(1, Cause::Speech, false)), std::slice::from_ref(&expected));
    assert_eq!(told(&mut relay, 0, &interrupted(2, Cause::Dtmf, false)), [expected]);
    for (cause, queued) in [
        (Cause::Speech, true),
        (Cause::Dtmf, true),
        (Cause::Request, false),
        (Cause::Preempted, false),
        (Cause::CallEnded, false),
    ] {
        assert_eq!(told(&mut relay, 0, &interrupted(3, cause, queued)), Vec::<Value>::new(), "{cause:?}");
    }
}

#[test]
fn a_source_that_cannot_be_played_is_told() {
    let mut relay = relay(settings());
    said(&mut relay, json!({"type": "play", "source": "https://x/y"}));
    say(&mut relay, token("Hello.", true));
    let failed = |turn| AgentReport::SpeechFailed {
        turn: TurnId(turn),
        fault: Fault { kind: FaultKind::Fatal, reason: "status 404".to_owned() },
    };
    let expected = json!({"type": "error", "description": "Invalid source in play: status 404"});
    assert_eq!(told(&mut relay, 0, &failed(1)), [expected]);
    assert_eq!(told(&mut relay, 0, &failed(2)), Vec::<Value>::new());
    told(&mut relay, 0, &over(1, ""));
    assert_eq!(told(&mut relay, 0, &failed(1)), Vec::<Value>::new());
}

#[test]
fn who_speaks_is_told_to_those_who_subscribed() {
    let mut relay = relay(Settings { speaker_events: true, ..settings() });
    let info = |name: &str, value: &str, ms: u64| json!({"type": "info", "name": name, "value": value, "ts": 1_752_091_234_000_u64 + ms});
    let nothing = Vec::<Value>::new();
    let caller = |change| AgentReport::CallerSpeech(change);
    assert_eq!(told(&mut relay, 250, &first_audio(1)), [info("agentSpeaking", "on", 250)]);
    assert_eq!(told(&mut relay, 300, &first_audio(2)), nothing);
    assert_eq!(told(&mut relay, 400, &over(1, "One.")), nothing);
    assert_eq!(told(&mut relay, 500, &over(2, "Two.")), [info("agentSpeaking", "off", 500)]);
    assert_eq!(told(&mut relay, 600, &caller(vad::Change::Started)), [info("clientSpeaking", "on", 600)]);
    assert_eq!(told(&mut relay, 700, &caller(vad::Change::Stopped)), [info("clientSpeaking", "off", 700)]);
    told(&mut relay, 800, &first_audio(3));
    let messages = told(&mut relay, 900, &interrupted(3, Cause::Speech, false));
    assert_eq!((&messages[0]["type"], &messages[1]), (&json!("interrupt"), &info("agentSpeaking", "off", 900)));
    // A turn that never sounded changes nothing.
    assert_eq!(told(&mut relay, 950, &interrupted(4, Cause::Preempted, true)), nothing);
}

#[test]
fn played_tokens_are_told_as_they_are_heard_and_each_once() {
    let mut relay = relay(Settings { tokens_played: true, ..settings() });
    say(&mut relay, token("Hi, this is Jace.", true));
    let info = |value: &str| json!({"type": "info", "name": "tokensPlayed", "value": value});
    let more = |turn, text: &str| AgentReport::Heard { turn: TurnId(turn), heard: heard(text, 1) };
    assert_eq!(told(&mut relay, 0, &more(1, "Hi,")), [info("Hi,")]);
    assert_eq!(told(&mut relay, 0, &more(1, "Hi, this")), [info(" this")]);
    assert_eq!(told(&mut relay, 0, &over(1, "Hi, this is Jace.")), [info(" is Jace.")]);
    say(&mut relay, token("We open at nine.", true));
    let messages = told(&mut relay, 0, &interrupted(2, Cause::Speech, false));
    assert_eq!((&messages[0], &messages[1]["type"]), (&info("We open at"), &json!("interrupt")));
    // What other hands say in the call is not the app's.
    assert_eq!(told(&mut relay, 0, &over(1 << 30, "From the API.")), Vec::<Value>::new());
}

#[test]
fn nothing_is_told_that_was_not_subscribed_to() {
    let mut relay = relay(settings());
    say(&mut relay, token("Hi.", true));
    let reports =
        [first_audio(1), over(1, "Hi."), AgentReport::CallerSpeech(vad::Change::Started), AgentReport::Draining];
    for report in reports {
        assert_eq!(told(&mut relay, 0, &report), Vec::<Value>::new(), "{report:?}");
    }
}

#[test]
fn settings_on_a_tape_have_no_secret_and_covered_ones_nothing_private() {
    let mut private = settings();
    private.greeting = "Hello Jane".to_owned();
    private.setup.custom_parameters.insert("patient".to_owned(), "4711".to_owned());
    let written = serde_json::to_string(&private.without_query()).unwrap();
    assert!(!written.contains("c2lnbmVk") && !written.contains("tenant") && written.contains("+1555"), "{written}");
    assert_eq!(serde_json::from_str::<Settings>(&written).unwrap(), private.without_query());
    let covered = serde_json::to_string(&private.covered(|text| "x".repeat(text.len()))).unwrap();
    for secret in ["Jane", "patient", "4711", "+1555", "VX1", "c2lnbmVk", "tenant"] {
        assert!(!covered.contains(secret), "{covered}");
    }
    assert!(!format!("{private:?}").contains("acme"));
}
