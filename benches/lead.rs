//! How much audio to keep ahead at the carrier: the real core in virtual time, a model carrier, and a process that stalls.

#![allow(clippy::unwrap_used, reason = "a bench may fail")]

mod support;

use std::time::Duration;

use plotters::prelude::*;
use support::lateness::{Drawn, Stalls, measured};
use support::page;
use support::world::{self, Lateness, Speech, World};
use trunkline::audio::Encoding;
use trunkline::call::action::AgentReport;
use trunkline::call::event::{Event, SpeechEvent};
use trunkline::call::settings::{Interruptible, Playout};
use trunkline::ids::CallTime;

/// Leads that are tried, in milliseconds.
const LEADS_MS: [u64; 10] = [20, 40, 60, 80, 100, 120, 140, 160, 180, 200];
/// What the gateway has by default, for the text.
const DEFAULT_MS: u64 = 120;
/// Speech that is played for each point of a curve.
const SPEECH: Duration = Duration::from_secs(3_600);
/// About five seconds of speech.
const TEXT: &str = "Your order left our warehouse this morning, and it will be with you on Thursday.";
/// The caller interrupts one of so many turns.
const INTERRUPTED_EVERY: u32 = 2;

/// A voice four times as fast as real time, so that underruns are never its fault. In mu-law, so that the carrier can tell
/// turns apart.
const VOICE: Speech =
    Speech { encoding: Encoding::Mulaw, rate: 8_000, first_byte: Duration::from_millis(75), speed_percent: 400 };

/// What came of one lead under one kind of lateness.
struct Point {
    lead_ms: u64,
    /// Those of the first 200 ms of a turn left out.
    underruns_per_minute: f64,
    underruns_at_start_per_minute: f64,
    /// Audio that a `clear` dropped: mean.
    flushed_ms: f64,
    /// From the text to its first sound: median.
    first_sound_ms: f64,
    /// From each moment at which the caller's speech was recognised to the arrival of `clear`.
    clears: Vec<Duration>,
}

/// A kind of lateness, and what came of each lead.
struct Curve {
    name: String,
    colour: RGBColor,
    points: Vec<Point>,
}

fn main() {
    if !page::is_asked_for("lead") {
        return;
    }
    let busy = page::busy();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let alone = measured(0);
    let crowded = measured(2 * cores);
    let stalls = |mean_ms| Stalls { per_second: 1.0, mean: Duration::from_millis(mean_ms) };
    let curves = [
        curve("stalls of 40 ms", RED, || Box::new(stalls(40).begin())),
        curve("stalls of 20 ms", RGBColor(230, 140, 0), || Box::new(stalls(20).begin())),
        curve("this machine, crowded", BLUE, || Box::new(Drawn::new(crowded.clone()))),
        curve("this machine, alone", RGBColor(0, 140, 70), || Box::new(Drawn::new(alone.clone()))),
    ];
    let markdown = format!(
        "{}\n\n{}\n\n{}\n\n{busy}",
        table(&curves),
        explained(&alone, &crowded, 2 * cores, &curves),
        "![Underruns a minute against the lead, one curve for each kind of lateness](lead.svg)"
    );
    if page::is_for_the_page() {
        draw(&curves);
        page::replace("lead", &markdown);
    } else {
        page::show(&markdown);
    }
}

fn curve(name: &str, colour: RGBColor, lateness: impl Fn() -> Box<dyn Lateness>) -> Curve {
    Curve {
        name: name.to_owned(),
        colour,
        points: LEADS_MS.iter().map(|lead_ms| point(*lead_ms, lateness())).collect(),
    }
}

/// An hour of speech, in turns with pauses between them.
fn point(lead_ms: u64, lateness: Box<dyn Lateness>) -> Point {
    let playout = Playout { lead: Duration::from_millis(lead_ms), ..Playout::default() };
    let settings = world::settings(VOICE, playout, Interruptible::Any);
    let mut world = World::new(settings, VOICE, world::silence(), lateness);
    world.run(CallTime::from_millis(500), |_| false);
    let (mut first_sounds, mut clears) = (Vec::new(), Vec::new());
    let mut turn = 0;
    while world::FRAME * u32::try_from(world.seen().frames).unwrap() < SPEECH {
        turn += 1;
        world.reports.clear();
        // A pause that is no multiple of a frame, so that turns begin at every phase of the inbound frames.
        let said = world.now + Duration::from_micros(700_000 + u64::from(turn) * 7_919 % 20_000);
        world.says(said, turn, TEXT);
        let limit = said + Duration::from_secs(30);
        world.run(limit, |report| matches!(report, AgentReport::FirstAudio { .. }));
        first_sounds.push(world.now.since(said));
        if turn.is_multiple_of(INTERRUPTED_EVERY) {
            let spoke = world.now + Duration::from_micros(1_000_000 + u64::from(turn) * 104_729 % 2_000_000);
            world.arrives(spoke, Event::Speech(SpeechEvent::Started));
            world.arrives(spoke + Duration::from_millis(300), Event::Speech(SpeechEvent::Stopped));
            world.run(limit, world::is_end);
            clears.push(world.now.since(spoke));
        } else {
            world.run(limit, world::is_end);
        }
        assert!(world.reports.iter().any(|(_, report)| world::is_end(report)), "turn {turn} did not end");
    }
    let minutes = SPEECH.as_secs_f64() / 60.0;
    let seen = world.seen();
    let flushed: Duration = seen.clears.iter().map(|(_, held)| *held).sum();
    Point {
        lead_ms,
        underruns_per_minute: seen.underruns as f64 / minutes,
        underruns_at_start_per_minute: seen.underruns_at_start as f64 / minutes,
        flushed_ms: flushed.as_secs_f64() * 1e3 / seen.clears.len().max(1) as f64,
        first_sound_ms: percentile(&mut first_sounds, 50),
        clears,
    }
}

/// A percentile in milliseconds, by nearest rank.
fn percentile(values: &mut [Duration], percent: usize) -> f64 {
    values.sort_unstable();
    let rank = (values.len() * percent).div_ceil(100).max(1);
    values.get(rank - 1).map_or(f64::NAN, |value| value.as_secs_f64() * 1e3)
}

fn table(curves: &[Curve]) -> String {
    let names = curves.iter().map(|curve| format!(" {} |", curve.name)).collect::<String>();
    let mut lines = vec![
        format!("| lead, ms |{names} `clear` drops, ms | text to first sound, ms |"),
        format!("|---|{}---|---|", "---|".repeat(curves.len())),
    ];
    let quietest = curves.last().unwrap();
    for (row, at_rest) in quietest.points.iter().enumerate() {
        let cells = curves.iter().map(|curve| {
            let point = curve.points.get(row).unwrap();
            format!(" {:.2} + {:.2} |", point.underruns_per_minute, point.underruns_at_start_per_minute)
        });
        let cells = cells.collect::<String>();
        let (flushed, first_sound) = (at_rest.flushed_ms, at_rest.first_sound_ms);
        lines.push(format!("| {} |{cells} {flushed:.0} | {first_sound:.0} |", at_rest.lead_ms));
    }
    lines.join("\n")
}

/// What the table says, in words that follow from its figures.
fn explained(alone: &[Duration], crowded: &[Duration], threads: usize, curves: &[Curve]) -> String {
    let at = |name: &str, lead_ms: u64| {
        let curve = curves.iter().find(|curve| curve.name == name).unwrap();
        curve.points.iter().find(|point| point.lead_ms == lead_ms).unwrap().underruns_per_minute
    };
    let enough = curves.iter().map(|curve| {
        let point = curve.points.iter().find(|point| point.underruns_per_minute <= 0.1);
        let lead = point.map_or_else(|| "more than 200 ms".to_owned(), |point| format!("{} ms", point.lead_ms));
        format!("{}: {lead}", curve.name)
    });
    let clears = curves.iter().map(|curve| {
        let mut clears: Vec<Duration> = curve.points.iter().flat_map(|point| point.clears.clone()).collect();
        format!("{}: {:.0} ms", curve.name, percentile(&mut clears, 99))
    });
    format!(
        "Underruns a minute of speech, over an hour of speech for each figure: those in mid-turn, which the picture shows, \
         + those in the first 200 ms of a turn, in which the lead is still being filled. *Stalls of 40 ms* and *20 ms*: once \
         a second on average (a Poisson process) everything in the process stands still, for a time that is exponentially \
         distributed with that mean, so that one stall in 20 is three times as long as the mean, and one in 150 five times. \
         Timers fire 1 to 2 ms late besides. *This machine*: each wake-up is as late as one drawn from {} real timers of \
         20 ms on this machine, alone ({}) and beside {threads} threads that never rest ({}). The carrier is at no distance \
         and has a perfect clock: a network's jitter comes on top.\n\n\
         - The lead costs no delay: the first lead of audio goes out at once, so text to first sound is the same for all.\n\
         - What grows is what `clear` drops, which a carrier that is slow to obey would still play: the lead, and the one \
         frame that is released ahead in step with the caller's frames.\n\
         - From the recognised start of the caller's speech to `clear` the lead changes nothing either; 99th percentile over all leads: {}.\n\
         - Lead that leaves at most one underrun in ten minutes of speech: {}.\n\
         - At the default of {DEFAULT_MS} ms, stalls of 20 ms cost {:.2} underruns a minute and those of 40 ms {:.2}; with \
         40 ms less it would be {:.2} and {:.2}, with 40 ms more {:.2} and {:.2}.",
        alone.len(),
        quantiles(alone),
        quantiles(crowded),
        clears.collect::<Vec<_>>().join(", "),
        enough.collect::<Vec<_>>().join(", "),
        at("stalls of 20 ms", DEFAULT_MS),
        at("stalls of 40 ms", DEFAULT_MS),
        at("stalls of 20 ms", DEFAULT_MS - 40),
        at("stalls of 40 ms", DEFAULT_MS - 40),
        at("stalls of 20 ms", DEFAULT_MS + 40),
        at("stalls of 40 ms", DEFAULT_MS + 40),
    )
}

fn quantiles(samples: &[Duration]) -> String {
    let mut samples = samples.to_vec();
    let (p50, p99) = (percentile(&mut samples, 50), percentile(&mut samples, 99));
    format!("median {p50:.1} ms, 99 % {p99:.1}, worst {:.1}", percentile(&mut samples, 100))
}

/// The picture: underruns a minute on a logarithmic scale, on which exponential stalls are straight lines.
fn draw(curves: &[Curve]) {
    /// Drawn in the place of zero, which has no logarithm: less than once an hour.
    const NONE: f64 = 0.01;
    let path = page::docs().join("lead.svg");
    let area = SVGBackend::new(&path, (860, 480)).into_drawing_area();
    area.fill(&WHITE).unwrap();
    let mut chart = ChartBuilder::on(&area)
        .caption("Underruns a minute in mid-turn, by the audio kept ahead at the carrier", ("sans-serif", 18))
        .margin(16)
        .x_label_area_size(44)
        .y_label_area_size(64)
        .build_cartesian_2d(20.0..200.0, (NONE..100.0).log_scale())
        .unwrap();
    chart
        .configure_mesh()
        .x_desc("lead, ms")
        .y_desc("underruns a minute (0.01: none in an hour)")
        .x_labels(10)
        .x_label_formatter(&|lead| format!("{lead:.0}"))
        .label_style(("sans-serif", 13))
        .light_line_style(WHITE)
        .draw()
        .unwrap();
    let default = DEFAULT_MS as f64;
    chart
        .draw_series(LineSeries::new([(default, NONE), (default, 100.0)], BLACK.mix(0.5)))
        .unwrap()
        .label("the default")
        .legend(|(x, y)| PathElement::new([(x, y), (x + 18, y)], BLACK.mix(0.5)));
    for curve in curves {
        let colour = curve.colour;
        let points = curve.points.iter().map(|point| (point.lead_ms as f64, point.underruns_per_minute.max(NONE)));
        chart
            .draw_series(LineSeries::new(points.clone(), colour.stroke_width(2)))
            .unwrap()
            .label(&curve.name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
        chart.draw_series(points.map(|point| Circle::new(point, 3, colour.filled()))).unwrap();
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .background_style(WHITE)
        .border_style(BLACK.mix(0.3))
        .label_font(("sans-serif", 13))
        .draw()
        .unwrap();
    area.present().unwrap();
}
