//! What the core of a call costs, and what it allocates.
//!
//! A call is lived through once against a model carrier and a model voice, and everything it is told is kept. The bench
//! tells a fresh call the same again: what is measured is `Call` and nothing of the models.

#![allow(clippy::unwrap_used, reason = "a bench may fail")]

mod support;

use std::alloc::System;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use criterion::{BatchSize, Criterion};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use support::measured::{median, share_of_frame, shown};
use support::page;
use support::world::{self, Punctual, Speech, World};
use trunkline::audio::{Encoding, g711};
use trunkline::call::Call;
use trunkline::call::action::AgentReport;
use trunkline::call::event::{AgentEvent, CarrierEvent, Event, SpeechEvent, TtsEvent};
use trunkline::call::settings::{Interruptible, Playout, Settings};
use trunkline::emulate::carrier::read_clip;
use trunkline::ids::CallTime;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// About twenty seconds of speech in sentences, so that the turn outlasts what is measured in it.
const LONG: &str = "Thank you for waiting, I have found your booking. You fly from Hamburg to Lisbon on the fourth of May, \
    and you return on the eleventh. Both flights leave in the morning. There is one change in Madrid, where you have \
    an hour and a half. Your seats are next to each other, by the window. Would you like to change anything about it?";
/// A sentence of 98 characters.
const SENTENCE: &str =
    "Your order left our warehouse this morning, and it will be at your door on Thursday before eleven.";

/// The steady state lies between these moments of the long turn.
const STEADY: (CallTime, CallTime) = (CallTime::from_millis(3_000), CallTime::from_millis(5_000));
/// Frames in the steady state.
const FRAMES: f64 = 100.0;

const MULAW: Speech =
    Speech { encoding: Encoding::Mulaw, rate: 8_000, first_byte: Duration::from_millis(75), speed_percent: 120 };
const WIDE: Speech = Speech { encoding: Encoding::PcmS16Le, rate: 16_000, ..MULAW };

/// Benchmark, and what it is in words.
const ROWS: [(&str, &str); 4] = [
    ("core idle", "nobody speaks"),
    ("core mulaw", "we speak, the voice sends mu-law at 8 kHz"),
    ("core wide", "we speak, the voice sends 16-bit PCM at 16 kHz"),
    ("core both", "the same, and the caller speaks too"),
];
const TURN: &str = "core turn";
const INTERRUPTION: &str = "core interruption";

fn main() {
    let busy = page::busy();
    let ids: Vec<&str> = ROWS.iter().map(|row| row.0).chain([TURN, INTERRUPTION]).collect();
    let mut criterion = support::measured::criterion(&ids);
    let quiet = world::silence();
    let lives = [
        live(WIDE, quiet.clone(), ""),
        live(MULAW, quiet.clone(), LONG),
        live(WIDE, quiet.clone(), LONG),
        live(WIDE, speech(), LONG),
    ];
    for ((id, _), life) in ROWS.iter().zip(&lives) {
        steady(&mut criterion, id, life);
    }
    let (length, turn) = whole_turn(quiet);
    criterion.bench_function(TURN, |bencher| {
        bencher.iter_batched(|| (Call::new(turn.settings.clone()), turn.tape.clone()), replay, BatchSize::PerIteration);
    });
    interruption(&mut criterion, lives.get(1).unwrap());
    criterion.final_summary();
    if page::is_for_the_page() {
        page::replace("call_core", &cost_table(length, &busy));
        page::replace("allocations", &allocation_table(lives.get(2).unwrap()));
    }
}

/// A call that was lived through.
struct Life {
    settings: Settings,
    tape: Vec<(CallTime, Event)>,
}

/// The caller's side: recorded speech as telephone frames.
fn speech() -> Vec<Bytes> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/audio/long.wav");
    let samples = read_clip(&file).unwrap();
    let mut words = Vec::new();
    // The clip's speech without the silence around it; `fixtures/audio/README.md` says where it lies.
    g711::encode_mulaw_into(samples.get(86 * 8..3_761 * 8).unwrap(), &mut words);
    words.chunks_exact(160).map(Bytes::copy_from_slice).collect()
}

/// A call in which a turn is said at once, by a voice that is only a little faster than real time, so that its chunks are spread over the turn.
fn live(speech: Speech, caller: Vec<Bytes>, text: &str) -> Life {
    let settings = world::settings(speech, Playout::default(), Interruptible::None);
    let mut world = World::new(settings.clone(), speech, caller, Box::new(Punctual));
    world.tape = Some(Vec::new());
    if !text.is_empty() {
        world.says(CallTime::from_millis(100), 1, text);
    }
    world.run(STEADY.1, |_| false);
    assert_eq!(world.call.stats().underruns, 0, "the model voice speaks fast enough");
    Life { settings, tape: world.tape.unwrap() }
}

/// A call that is one sentence long, and how long that was from text to the end of its sound.
fn whole_turn(caller: Vec<Bytes>) -> (Duration, Life) {
    let said = CallTime::from_millis(100);
    let speech = Speech { speed_percent: 300, ..WIDE };
    let settings = world::settings(speech, Playout::default(), Interruptible::None);
    let mut world = World::new(settings.clone(), speech, caller, Box::new(Punctual));
    world.tape = Some(Vec::new());
    world.says(said, 1, SENTENCE);
    world.run(CallTime::from_millis(30_000), world::is_end);
    assert!(matches!(world.reports.last(), Some((_, AgentReport::TurnOver { .. }))), "the turn was heard to its end");
    (world.now.since(said), Life { settings, tape: world.tape.unwrap() })
}

/// Tells a call what is on the tape.
fn replay((mut call, tape): (Call, Vec<(CallTime, Event)>)) -> Call {
    for (at, event) in tape {
        tell(&mut call, at, event);
    }
    call
}

fn tell(call: &mut Call, at: CallTime, event: Event) {
    call.handle(at, event);
    while let Some(action) = call.poll_action() {
        drop(std::hint::black_box(action));
    }
}

/// A call that has come to the steady state, and what it is told there.
fn arrived(life: &Life) -> (Call, Vec<(CallTime, Event)>) {
    let at = life.tape.partition_point(|(at, _)| *at < STEADY.0);
    let (before, within) = life.tape.split_at(at);
    (replay((Call::new(life.settings.clone()), before.to_vec())), within.to_vec())
}

fn steady(criterion: &mut Criterion, id: &str, life: &Life) {
    criterion.bench_function(id, |bencher| {
        bencher.iter_batched(|| arrived(life), replay, BatchSize::PerIteration);
    });
}

fn interruption(criterion: &mut Criterion, life: &Life) {
    let mut settings = life.settings.clone();
    settings.interruptible = Interruptible::Any;
    let life = Life { settings, tape: life.tape.clone() };
    criterion.bench_function(INTERRUPTION, |bencher| {
        let cut = || (arrived(&life).0, vec![(STEADY.0, Event::Speech(SpeechEvent::Started))]);
        bencher.iter_batched(cut, replay, BatchSize::PerIteration);
    });
}

fn cost_table(turn: Duration, busy: &str) -> String {
    let mut lines = vec![
        "| 20 ms of a call: a frame in, a frame out, their share of marks, chunks and timers | ns | 95 % interval | share of a frame |"
            .to_owned(),
        "|---|---|---|---|".to_owned(),
    ];
    for (id, words) in ROWS {
        let time = median(id);
        let [ns, low, high] = [time.ns, time.low, time.high].map(|ns| ns / FRAMES);
        lines.push(format!("| {words} | {} | {} - {} | {} |", shown(ns), shown(low), shown(high), share_of_frame(ns)));
    }
    let (whole, cut) = (median(TURN), median(INTERRUPTION));
    let share = share_of_frame(whole.ns * 0.02 / turn.as_secs_f64());
    lines.push(format!(
        "\nA whole turn of one sentence ({} characters, 16 kHz, {:.1} s from its text until it was heard) costs {:.0} us, \
         {share} of the time that it lasts. An interruption, from the event to `clear`, cancel and the report to the \
         agent, costs {:.1} us.\n\n{busy}",
        SENTENCE.len(),
        turn.as_secs_f64(),
        whole.ns / 1e3,
        cut.ns / 1e3,
    ));
    lines.join("\n")
}

/// What an event is in a table.
fn kind(event: &Event) -> &'static str {
    match event {
        Event::Carrier(CarrierEvent::Media(_)) => "frame of the caller in, our frame out",
        Event::Carrier(CarrierEvent::Mark(_)) => "mark that came back",
        Event::Carrier(_) => "other message of the carrier",
        Event::Tts(TtsEvent::Audio { .. }) => "chunk of 90 ms from the voice",
        Event::Tts(TtsEvent::Words { .. }) => "word times of a sentence",
        Event::Tts(_) => "other message of the voice",
        Event::Agent(AgentEvent::Say(_)) => "text",
        Event::Agent(_) => "wish of the agent",
        Event::Hearing { .. } | Event::Speech(_) => "speech of the caller",
        Event::Wake => "timer",
        Event::Drain | Event::Leave => "stop of the node",
    }
}

fn allocation_table(life: &Life) -> String {
    let mut counts: BTreeMap<&str, (usize, usize, usize)> = BTreeMap::new();
    let (mut call, tape) = arrived(life);
    for (at, event) in tape {
        let count = counts.entry(kind(&event)).or_default();
        let region = Region::new(ALLOCATOR);
        tell(&mut call, at, event);
        let change = region.change();
        count.0 += 1;
        count.1 += change.allocations + change.reallocations;
        count.2 += change.bytes_allocated;
    }
    let mut lines =
        vec!["| event | how many | allocations each | bytes each |".to_owned(), "|---|---|---|---|".to_owned()];
    for (kind, (events, allocations, bytes)) in counts {
        let each = |sum: usize| sum as f64 / events as f64;
        lines.push(format!("| {kind} | {events} | {:.2} | {:.0} |", each(allocations), each(bytes)));
    }
    lines.push("\nA chunk allocates the buffer that its frames are slices of.".to_owned());
    lines.join("\n")
}
