//! What the agent is told was heard, against the truth: two hundred interruptions at random moments.
//!
//! The truth is made of two facts that the gateway does not see: the samples that the emulated carrier had played when
//! `clear` came, and the true times of the words in the emulated vendor's journal.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::sleep;
use trunkline::emulate::carrier::{Clip, Logged, Marks, Moment, Outcome, read_clip};
use trunkline::emulate::cartesia;
use trunkline::ids::CallTime;

use crate::bench::{Bench, Call, vendor};
use crate::ear;
use crate::scenarios::{Scenario, run_all, scenario};

/// Where the random moments begin; told with every failure.
const SEED: u64 = 0x5EED_0001;
/// So long that no turn is heard to its end, with words of all lengths.
const TEXT: &str = "Well, I am an extraordinarily talkative gateway; so, to be on the safe side, I go on and on about \
                    telephony, a, b, c, transmission, and the unbelievable number of things that it takes, until somebody \
                    interrupts me.";

/// The gateway's clock starts when a frame is written and the carrier's when it arrives: between a turn's first frame and
/// `clear` the two may differ by a frame. Words are hundreds of milliseconds long.
const BLUR_MS: u64 = 20;

/// Random numbers that are the same in every run (SplitMix64).
struct Dice(u64);

impl Dice {
    fn throw(&mut self, from_ms: u64, to_ms: u64) -> Duration {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        Duration::from_millis(from_ms + (mixed ^ (mixed >> 31)) % (to_ms - from_ms))
    }
}

/// How a call is interrupted.
#[derive(Clone, Copy, Debug)]
enum By {
    Request,
    Digits,
    Speech,
}

/// A kind of call.
#[derive(Clone, Copy, Debug)]
struct Kind {
    by: By,
    times: usize,
    toml: &'static str,
    faults: &'static [&'static str],
    marks: Marks,
}

const PLAIN: Kind = Kind { by: By::Request, times: 10, toml: "", faults: &[], marks: Marks::Normal };

/// Two hundred interruptions in all.
const KINDS: [Kind; 22] = [
    PLAIN,
    Kind { toml: "speech.cartesia.sample_rate = 16000", ..PLAIN },
    Kind { toml: "speech.cartesia.sample_rate = 24000", ..PLAIN },
    Kind { toml: "speech.cartesia.encoding = \"pcm_mulaw\"\nspeech.cartesia.sample_rate = 8000", ..PLAIN },
    Kind { toml: "speech.cartesia.buffering = { managed_ms = 200 }", ..PLAIN },
    Kind { toml: "playout.lead_ms = 20\nplayout.prebuffer_ms = 20", ..PLAIN },
    Kind { toml: "playout.lead_ms = 400", ..PLAIN },
    Kind { faults: &["timestamps-before"], ..PLAIN },
    Kind { faults: &["odd-chunks"], ..PLAIN },
    Kind { faults: &["burst", "late-chunks"], ..PLAIN },
    Kind { marks: Marks::Never, ..PLAIN },
    Kind { marks: Marks::AtOnce, ..PLAIN },
    Kind { by: By::Digits, ..PLAIN },
    Kind { by: By::Digits, toml: "speech.cartesia.sample_rate = 16000", ..PLAIN },
    Kind { by: By::Digits, toml: "speech.cartesia.buffering = { managed_ms = 200 }", ..PLAIN },
    Kind { by: By::Digits, faults: &["late-chunks"], ..PLAIN },
    Kind { by: By::Digits, toml: "playout.lead_ms = 200", ..PLAIN },
    Kind { by: By::Digits, marks: Marks::Never, ..PLAIN },
    Kind { by: By::Speech, times: 5, ..PLAIN },
    Kind { by: By::Speech, times: 5, toml: "speech.cartesia.sample_rate = 16000", ..PLAIN },
    Kind { by: By::Speech, times: 5, faults: &["late-chunks-done"], ..PLAIN },
    Kind { by: By::Speech, times: 5, toml: "playout.lead_ms = 40", ..PLAIN },
];

#[test]
fn heard_text_is_what_was_played_and_at_most_one_word_less() {
    assert_eq!(KINDS.iter().map(|kind| kind.times).sum::<usize>(), 200);
    let scenarios = (0..).zip(KINDS).map(|(index, kind)| -> Scenario {
        let seed = SEED + index;
        scenario(format!("seed {seed:#x}, {kind:?}"), move || interrupted(kind, Dice(seed)))
    });
    run_all(scenarios.collect());
}

async fn interrupted(kind: Kind, mut dice: Dice) {
    // Faster than it is heard, yet still speaking when it is cut off.
    let vendor = cartesia::Settings { speed_factor: 2.0, ..vendor(kind.faults) };
    let (bench, call) = match kind.by {
        By::Request => {
            let bench = Bench::with_vendor(vendor, kind.toml).await;
            let call = bench.call(|plan| plan.marks = kind.marks).await;
            for _ in 0..kind.times {
                let turn = call.say(json!({ "text": TEXT })).await;
                sleep(dice.throw(20, 4_500)).await;
                call.clear().await;
                call.over(turn).await;
            }
            (bench, call)
        }
        By::Digits => {
            let bench = Bench::scripted(vendor, &script(kind.toml)).await;
            let call = bench
                .call(|plan| {
                    plan.marks = kind.marks;
                    let mut at = Duration::ZERO;
                    for _ in 0..kind.times {
                        at += dice.throw(300, 4_500);
                        plan.dtmf.push((at, '1'));
                    }
                })
                .await;
            (bench, call)
        }
        By::Speech => {
            let bench = Bench::scripted(vendor, &script(kind.toml)).await;
            let question = read_clip("fixtures/audio/question.wav".as_ref()).unwrap();
            let call = bench
                .call(|plan| {
                    for index in 0..kind.times {
                        let wait = dice.throw(200, 3_000);
                        let at = if index == 0 { Moment::AfterFirstAudio(wait) } else { Moment::AfterResumed(wait) };
                        plan.caller.push(Clip { at, samples: question.clone() });
                    }
                })
                .await;
            (bench, call)
        }
    };
    let cuts = cuts(&call, kind.times).await;
    let sounded: Vec<Value> = call.events.of("first_audio").iter().map(|event| event["turn"].clone()).collect();
    let outcome = call.hang_up().await;
    let sounded: Vec<&Value> = cuts.iter().filter(|cut| sounded.contains(&cut["turn"])).collect();
    let clears = ear::clears(&outcome);
    assert_eq!(clears.len(), sounded.len(), "each turn that was begun is cleared once");
    for cut in cuts.iter().filter(|cut| !sounded.iter().any(|other| other["turn"] == cut["turn"])) {
        assert_eq!(cut["heard"], "", "nothing of this turn was sent");
    }
    let starts = std::iter::once(CallTime::ZERO).chain(clears.iter().copied());
    for ((from, to), cut) in starts.zip(clears.iter().copied()).zip(&sounded) {
        let context = context_of(&bench, cut);
        check(&outcome, (from, to), cut, &context, kind.marks);
    }
    bench.finish().await;
}

/// The interruptions, the one by the end of the call left out, once there are enough of them.
async fn cuts(call: &Call, count: usize) -> Vec<Value> {
    let interrupted = || -> Vec<Value> {
        call.events.of("interrupted").into_iter().filter(|event| event["cause"] != "call_ended").collect()
    };
    while interrupted().len() < count {
        sleep(Duration::from_millis(50)).await;
    }
    interrupted()
}

fn script(toml: &str) -> String {
    let quoted = Value::from(TEXT);
    format!("{toml}\n[agent.script]\ngreeting = {quoted}\nlines = [{quoted}]\ndigits = {{ \"1\" = {quoted} }}")
}

fn context_of(bench: &Bench, cut: &Value) -> cartesia::ContextRecord {
    let contexts = bench.journal.contexts();
    let of_turn = format!("-{}.", cut["turn"]);
    let mut of_turn = contexts.into_iter().filter(|context| context.id.contains(&of_turn));
    let context = of_turn.next().unwrap();
    assert!(of_turn.next().is_none(), "{cut}");
    context
}

/// `span` is from the `clear` before to the one that cut this turn off: what was played between belongs to it alone.
fn check(outcome: &Outcome, span: (CallTime, CallTime), cut: &Value, context: &cartesia::ContextRecord, marks: Marks) {
    let by = |at| outcome.recording.samples_played_by(at);
    let played_ms = (by(span.1) - by(span.0)) / 8;
    let heard = cut["heard"].as_str().unwrap();
    assert!(TEXT.starts_with(heard), "{cut}");
    let words = heard.split_whitespace().count();
    let blur_ms = BLUR_MS + lateness_ms(outcome, span);
    let played = |ms: u64| context.words.iter().take_while(|word| u64::from(word.end_ms) <= ms).count();
    let told = format!("{words} words said to be heard, {} played in {played_ms} ms: {cut}", played(played_ms));
    assert!(words <= played(played_ms + blur_ms), "{told}, {blur_ms} ms granted");
    let is_estimate = cut["estimated"] == true;
    match marks {
        Marks::Normal => assert!(!is_estimate, "{cut}"),
        // Until marks are given up, the first that is out holds the position back.
        Marks::Never if !is_estimate => return,
        Marks::Never | Marks::AtOnce => assert!(is_estimate || heard.is_empty(), "{cut}"),
    }
    assert!(words + 1 >= played(played_ms.saturating_sub(blur_ms)), "{told}, {blur_ms} ms granted");
}

/// How late the machine let the emulated carrier be while a turn was heard: by as much, what both ends believe may differ.
fn lateness_ms(outcome: &Outcome, (from, to): (CallTime, CallTime)) -> u64 {
    let near = |at: CallTime| from <= at && at <= to + Duration::from_millis(500);
    let late = outcome.log.entries().iter().filter(|entry| near(entry.at)).filter_map(|entry| {
        let (Logged::CallerFrame { late_us } | Logged::MarkEchoed { late_us }) = entry.logged else { return None };
        Some(late_us / 1_000)
    });
    late.max().unwrap_or_default()
}
