//! Short calls, each about one thing, written down step by step: the tapes of `fixtures/calls`.
//!
//! `cargo test --test simulation -- --ignored compose` writes the tapes again; what was said, heard and counted stands in
//! each folder's `facts.toml`, which is written by hand.
//!
//! All of them share one clock, so that their facts can be worked out on paper. The way to the carrier takes 20 ms, to the
//! vendor 20 ms, its first audio 90 ms more; a character takes 60 ms to say. Text that is said at `t` to a vendor that is
//! not speaking is heard from `t + 130 ms` on by our clock, and 20 ms later by the caller.

use std::time::Duration;

use trunkline::audio::{Encoding, vad};
use trunkline::call::event::Delivery;
use trunkline::call::phrases::Phrase;
use trunkline::call::settings::{Buffering, Interruptible};
use trunkline::ids::CallTime;
use trunkline::tape::{End, Wakes};

use crate::cartesia::Mishap;
use crate::plan::{Plan, Step};
use crate::random::{clip, root};
use crate::scene::Scene;
use crate::session::{self, Entry, Wanted, What};
use crate::sound::{PER_MS, linear, mulaw};
use crate::tongues::Brand;
use crate::twilio::{GARBAGE, Marks};
use crate::world::World;

const GREETING: &str = "Good morning and welcome to the northern lighthouse museum.";
const ANSWER: &str = "Of course, go ahead.";

/// White noise of a noisy line, 30 dB under full scale.
fn noise(ms: usize) -> Vec<u8> {
    let mut state = 7_u32;
    let sample = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        mulaw((i32::from((state >> 16) as u16 as i16) / 20) as i16)
    };
    (0..ms * PER_MS).map(sample).collect()
}

/// Every scene, in the order of `fixtures/calls/README.md`.
fn scenes() -> Vec<Scene> {
    [turns(), marks(), voices(), brands(), failures(), inputs(), crate::talks::scenes()].into_iter().flatten().collect()
}

fn turns() -> Vec<Scene> {
    let none = Some(Interruptible::None);
    vec![
        Scene::new("plain-greeting", 4_600).say(200, 1, GREETING),
        Scene::new("barge-in-mid-sentence", 6_000)
            .manner(|manner| manner.speed_percent = 150)
            .say(200, 1, GREETING)
            .caller(1_300, "question")
            .say(4_600, 2, "Sure."),
        Scene::new("barge-in-after-synthesis", 5_000)
            .manner(|manner| manner.speed_percent = 5_000)
            .say(200, 1, GREETING)
            .caller(1_300, "question"),
        Scene::new("two-quick-barge-ins", 6_000)
            .manner(|manner| manner.obeys = 0)
            .say(200, 1, GREETING)
            .caller(1_300, "no")
            .say(1_900, 2, "I beg your pardon, what was it that you wanted to know?")
            .caller(2_940, "statement"),
        Scene::new("barge-in-before-first-sound", 5_000)
            .manner(|manner| {
                manner.obeys = 0;
                manner.first_ms = (600, 600);
            })
            .say(1_400, 1, GREETING)
            .caller(1_300, "thank-you")
            .say(2_600, 2, ANSWER),
        Scene::new("uninterruptible-line", 6_000)
            .piece(200, 1, "This call may be recorded for quality and training.", true, none)
            .say(210, 2, "How can I help you today?")
            .caller(1_300, "thank-you"),
        Scene::new("two-contexts-interleaved", 5_400)
            .manner(|manner| manner.speed_percent = 150)
            .say(200, 1, "One moment, please.")
            .say(210, 2, "Here is what I have found for you."),
        Scene::new("late-chunks-after-cancel", 6_000)
            .manner(|manner| {
                manner.obeys = 0;
                manner.speed_percent = 125;
            })
            .say(200, 1, GREETING)
            .step(1_550, Step::Digit('5'))
            .say(1_700, 2, ANSWER),
        Scene::new("dtmf-interrupt", 4_000).say(200, 1, GREETING).step(1_480, Step::Digit('1')).say(
            2_000,
            2,
            "You chose one.",
        ),
        Scene::new("hang-up-mid-turn", 1_500).say(200, 1, GREETING),
        Scene::new("carrier-socket-lost", 4_000).say(200, 1, GREETING).step(1_500, Step::Die(Some(1006))),
    ]
}

fn marks() -> Vec<Scene> {
    let with = |name, marks| {
        let scene = Scene::new(name, 6_600).plan(|plan| plan.marks = marks);
        scene.say(200, 1, "Let me look.").say(2_600, 2, GREETING).step(5_690, Step::Digit('5'))
    };
    vec![
        with("marks-never", Marks::Never),
        with("marks-at-once", Marks::AtOnce),
        with("mark-flood-after-clear", Marks::Flood),
        with("marks-late", Marks::Late),
    ]
}

fn voices() -> Vec<Scene> {
    let buffered = |scene: Scene, buffering, encoding, rate| {
        scene.plan(|plan| plan.wanted = Some(Wanted { encoding, rate: Some(rate), buffering, brand: Brand::Cartesia }))
    };
    let managed = Buffering::Vendor { max_delay: Duration::from_millis(500) };
    vec![
        buffered(Scene::new("wide-voice", 4_600), Buffering::Gateway, Encoding::PcmS16Le, 16_000).say(200, 1, GREETING),
        buffered(Scene::new("ragged-chunks", 4_600), Buffering::Gateway, Encoding::PcmS16Le, 8_000)
            .manner(|manner| manner.chunk_bytes = (1, 333))
            .say(200, 1, GREETING),
        buffered(Scene::new("managed-buffering", 6_400), managed, Encoding::Mulaw, 8_000)
            .stream(200, 1, &["Cer", "tain", "ly", "!", " The", " mus", "eum", " op", "ens", " at", " nine"])
            .piece(1_600, 1, " and", false, None)
            .piece(1_620, 1, " clo", false, None)
            .piece(1_640, 1, "ses at five.", true, None),
        Scene::new("sentence-buffering", 6_000)
            .stream(200, 1, &["Dr", ".", " Sm", "ith", " is", " in", ".", " It", " costs", " $", "3", ".", "50", "."])
            .piece(1_200, 1, " Any", false, None)
            .piece(1_220, 1, "thing", false, None)
            .piece(1_900, 1, " else?", true, None),
        Scene::new("punctuation-first", 4_000)
            .stream(200, 1, &["...", " ", "--", " ", "Well", ",", " yes"])
            .piece(360, 1, ".", true, None)
            .say(2_000, 2, "?!"),
        Scene::new("words-without-times", 4_600).manner(|manner| manner.timed = false).say(200, 1, GREETING),
        phrases(Scene::new("phrase-spoken-before", 7_000), &[("One moment, please.", true)])
            .say(200, 1, "One moment, please. Here is what I have found for you.")
            .say(5_000, 2, "One moment, please.")
            .caller(5_300, "no"),
        phrases(Scene::new("phrase-not-there", 4_600), &[(GREETING, false)]).say(200, 1, GREETING),
        Scene::new("local-voice", 4_600).plan(|plan| plan.wanted = None).say(200, 1, GREETING),
    ]
}

/// A scene in which texts of the first voice may have been spoken before, and whether they were.
fn phrases(scene: Scene, texts: &[(&str, bool)]) -> Scene {
    let phrase = |text: &str| Phrase { voice: 0, text: text.to_owned(), delivery: Delivery::default() };
    scene.plan(|plan| plan.talk.phrases = texts.iter().map(|(text, known)| (phrase(text), *known)).collect())
}

/// The same interruption at each vendor, and two turns made at once where that can be.
fn brands() -> Vec<Scene> {
    let cut = |name, brand| {
        Scene::new(name, 6_000)
            .by(brand)
            .manner(|manner| manner.speed_percent = 200)
            .say(200, 1, GREETING)
            .caller(1_300, "question")
            .say(4_600, 2, "Sure.")
    };
    let both = Scene::new("gradium-two-requests-interleaved", 5_400)
        .by(Brand::Gradium)
        .manner(|manner| manner.speed_percent = 150)
        .say(200, 1, "One moment, please.")
        .say(210, 2, "Here is what I have found for you.");
    vec![
        cut("gradium-barge-in", Brand::Gradium),
        both,
        cut("elevenlabs-barge-in", Brand::Elevenlabs),
        cut("rime-barge-in", Brand::Rime),
    ]
}

fn failures() -> Vec<Scene> {
    let refuse = |status, code, named| Mishap::Refuse { status, code, named };
    vec![
        Scene::new("socket-lost-mid-turn", 6_000)
            .manner(|manner| manner.speed_percent = 125)
            .say(200, 1, GREETING)
            .vendor(1_300, Mishap::Close(None, "")),
        Scene::new("socket-lost-before-audio", 5_500)
            .manner(|manner| manner.first_ms = (300, 300))
            .say(200, 1, GREETING)
            .vendor(400, Mishap::Close(Some(1011), "")),
        Scene::new("idle-close", 5_500)
            .say(200, 1, "Let me look.")
            .vendor(2_000, Mishap::Close(Some(1000), "connection idle timeout"))
            .say(3_000, 2, ANSWER),
        Scene::new("tool-pause", 7_000).piece(200, 1, "Let me look that up. ", false, None).flush(600, 1).piece(
            3_200,
            1,
            "We have two rooms left.",
            true,
            None,
        ),
        Scene::new("context-expired", 6_000)
            .piece(200, 1, "Let me look that up. ", false, None)
            .flush(600, 1)
            .vendor(1_000, refuse(400, None, true))
            .piece(1_020, 1, "We have two rooms left.", true, None),
        Scene::new("underrun", 6_500)
            .manner(|manner| manner.speed_percent = 150)
            .say(200, 1, GREETING)
            .vendor(600, Mishap::Stall(1_500)),
        Scene::new("chunks-stop", 8_500)
            .manner(|manner| manner.speed_percent = 150)
            .say(200, 1, GREETING)
            .vendor(1_000, Mishap::Forget),
        Scene::new("concurrency-limited", 5_500)
            .vendor(150, refuse(429, Some("concurrency_limited"), true))
            .say(200, 1, GREETING),
        Scene::new("nameless-error", 5_500).vendor(150, refuse(500, None, false)).say(200, 1, GREETING),
        Scene::new("voice-refused", 6_000).vendor(0, Mishap::Shut(Some(401))).say(200, 1, GREETING),
        Scene::new("voice-unreachable", 9_000).vendor(0, Mishap::Shut(None)).say(200, 1, GREETING),
        Scene::new("nameless-chunk", 4_600)
            .say(200, 1, GREETING)
            .vendor(900, Mishap::Say(r#"{"type":"chunk","data":"AAAA","done":false,"status_code":206}"#))
            .vendor(920, Mishap::Say(r#"{"type":"chunk","context_id":"other-1.1","data":"AAAA","done":false}"#))
            .vendor(940, Mishap::Say(r#"{"type":"done","context_id":"other-1.1","done":true}"#))
            .vendor(960, Mishap::Say(r#"{"type":"novelty","context_id":null}"#))
            .vendor(980, Mishap::Say(r#"{"type":"chunk","context_id":"#)),
    ]
}

fn inputs() -> Vec<Scene> {
    let mut rude = Scene::new("garbage-and-disorder", 5_000).say(200, 1, GREETING);
    for (n, text) in GARBAGE.into_iter().enumerate() {
        rude = rude.step(600 + 150 * n as u64, Step::Raw(text.to_owned()));
    }
    rude = rude.step(2_400, Step::Binary(&[0, 1, 2, 0xFF]));
    // From here to there every message comes late and overtaken by others.
    rude = rude.step(2_600, Step::Swap).step(3_200, Step::Swap);
    let mut noisy = Scene::new("noise-is-nobody", 4_600).say(200, 1, GREETING);
    noisy.add(0, &noise(4_500));
    let mut music = Scene::new("background-music", 4_600).say(200, 1, GREETING);
    music.add(300, &hold(10));
    // The default settings take music at full level for speech; these do not, and still hear a caller.
    let strict = vad::Settings { min_speech_ms: 200, threshold: 0.8, ..vad::Settings::default() };
    let mut loud = Scene::new("music-then-caller", 5_000).plan(|plan| plan.detector = strict).say(200, 1, GREETING);
    loud.add(300, &hold(1)[..2_000 * PER_MS]);
    let loud = loud.caller(2_600, "question");
    let mut stalled = Scene::new("process-stall", 5_000)
        .say(200, 1, GREETING)
        .plan(|plan| plan.sleeps = true)
        .step(1_000, Step::Sleep(100))
        .step(2_000, Step::Sleep(600));
    stalled.sleeps = true;
    let burst = Scene::new("network-burst", 6_000)
        .say(200, 1, GREETING)
        .step(1_500, Step::Outage(900))
        .plan(|plan| plan.network.outage_ms = 900);
    vec![rude, noisy, music, loud, stalled, burst]
}

/// Music on hold, `softer` times softer.
fn hold(softer: i16) -> Vec<u8> {
    let path = root().join("fixtures/music/hold.wav");
    let mut reader = hound::WavReader::open(&path).unwrap();
    reader.samples::<i16>().map(|sample| mulaw(sample.unwrap() / softer)).collect()
}

/// Lives a scene and gives back the call with its last line.
fn live(name: &str, plan: Plan) -> World {
    let mut world = World::new(plan);
    world.story = std::env::var("TRUNKLINE_SCENE").is_ok_and(|scene| scene == name);
    world.live();
    let sent = world.session().digest();
    let at = world.tape.last().map_or(CallTime::ZERO, |last| last.at);
    world.tape.push(Entry { at, what: What::End(End { reason: world.reason, sent, withdrawn: Vec::new() }) });
    world
}

#[test]
fn every_scene_keeps_the_promises() {
    for scene in scenes() {
        let (name, _, plan) = scene.ready();
        println!("{name}");
        live(name, plan);
    }
}

#[test]
#[ignore = "writes fixtures/calls/*/tape.jsonl anew"]
fn compose() {
    let only = std::env::var("TRUNKLINE_SCENE").ok();
    for scene in scenes() {
        let (name, sleeps, plan) = scene.ready();
        if only.as_ref().is_some_and(|only| only != name) {
            continue;
        }
        let mut world = live(name, plan);
        if !sleeps {
            // A replay wakes the call when it asks for it, so that the tape stays good when the core asks at other times.
            world.header.wakes = Wakes::Due;
            world.tape.retain(|entry| entry.what != What::Wake);
        }
        let path = root().join("fixtures/calls").join(name).join("tape.jsonl");
        session::write(&path, &world.header, &world.tape).unwrap();
        println!("{name}: {:?}\n  {}", world.session().stats(), world.outcome());
    }
}

#[test]
fn a_clip_survives_the_telephone() {
    let loudest = clip("question").into_iter().map(|byte| linear(byte).unsigned_abs()).max();
    assert!(loudest.is_some_and(|loudest| loudest > 10_000), "{loudest:?}");
}
