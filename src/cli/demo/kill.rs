//! `trunkline demo --kill-tts`: the server of the first voice is killed in the middle of a sentence, and the next voice of the chain
//! says the rest of it.
//!
//! The truth is in three places that know nothing of each other: what the phone played, what the gateway told of it, and what each
//! voice was asked to say and sent.

use std::io::{self, Write as _};
use std::path::Path;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use trunkline::emulate::carrier::{self, HangUp, Recording};
use trunkline::emulate::tts::{self, ContextRecord, Journal, Vendor};
use trunkline::server;

use super::conversation::{Story, follow};
use super::{API_KEY, CALL_MAX, DemoError, PROGRESS_MAX, SILENCE, gateway_node, loopback, plan, voice_at};

/// The longest silence inside the sentence.
const GAP_MAX: Duration = Duration::from_millis(500);
/// So much of the sentence has been sent when the server is killed.
const SENT_MIN: Duration = Duration::from_millis(2_500);
/// How often it is looked how much was sent.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// How much faster than it is heard speech is made: so little that the sentence is not made when its server is killed.
const SPEED: f64 = 1.25;

/// Nothing is spoken beforehand: the sentence is to be lost while it is being made.
const SETTINGS: &str = r#"
[speech]
chain = ["cartesia", "gradium", "local"]
phrase_cache_mib = 0
[speech.cartesia]
sample_rate = 16000
[agent.script]
greeting = "This sentence goes on for long enough that the server which speaks it can be killed before it ends and the caller still hears every word of it once because another voice knows where to go on."
"#;
/// The vendor that says the rest, its name in the configuration, and the path of its socket.
const SECOND: (Vendor, &str) = (Vendor::Gradium, "gradium");

/// Performs the demonstration.
pub(super) async fn run(wav: &Path) -> Result<(), DemoError> {
    let mut out = io::stdout();
    let settings = |vendor| tts::Settings { speed_factor: SPEED, ..tts::Settings::of(vendor) };
    let first = tts::Server::bind(loopback(), settings(Vendor::Cartesia)).await?;
    let second = tts::Server::bind(loopback(), settings(SECOND.0)).await?;
    let journals = Journals { first: first.journal(), second: second.journal() };
    let mut overrides = voice_at(&first.url());
    overrides.extend([
        (format!("speech.{}.url", SECOND.1), second.url()),
        (format!("speech.{}.api_key", SECOND.1), API_KEY.to_owned()),
    ]);
    let node = gateway_node(SETTINGS, overrides)?;
    let listener = TcpListener::bind(loopback()).await?;
    let gateway = listener.local_addr()?;
    writeln!(out, "gateway on http://{gateway}; voices: {}, then {}\n", first.url(), second.url())?;

    let stop = CancellationToken::new();
    let (mut victim, mut tasks) = (JoinSet::new(), JoinSet::new());
    let (second_stop, gateway_stop) = (stop.clone(), stop.clone());
    victim.spawn(first.run(CancellationToken::new()));
    tasks.spawn(second.run(second_stop));
    tasks.spawn(async move {
        // If the gateway cannot listen, the call fails and says so.
        let _ = server::serve(listener, node, gateway_stop).await;
    });
    let mut plan = plan(gateway).await?;
    plan.hang_up = HangUp::AfterSilence(SILENCE);
    let (told, lines) = mpsc::channel(PROGRESS_MAX);
    let (progress, happenings) = mpsc::channel(PROGRESS_MAX);
    tasks.spawn(super::watch(gateway, plan.call_sid.clone(), told));
    let call = carrier::run(plan, Some(progress), stop.clone());
    let killing = kill(&journals.first, &mut victim);
    let (outcome, story, killed) = tokio::join!(Box::pin(call), follow(happenings, lines), killing);
    let (outcome, story) = (outcome?, story?);
    stop.cancel();
    while tasks.join_next().await.is_some() {}

    outcome.recording.write_wav(wav)?;
    let seam = Seam::new(&outcome.recording, &journals);
    seam.print(&mut out, &story)?;
    writeln!(out, "\nwrote {} (left: the caller, right: the gateway)", wav.display())?;
    is(killed, "the server was not killed")?;
    judge_story(&story, &seam)?;
    seam.judge()
}

/// Kills a server once it has sent enough of the sentence: its listener is gone, and so are its sockets, without a word of
/// goodbye. Whether it came to that.
async fn kill(journal: &Journal, victim: &mut JoinSet<()>) -> bool {
    let sent = async {
        while journal.contexts().first().is_none_or(|context| sent(context) < SENT_MIN) {
            sleep(LOOK_EVERY).await;
        }
    };
    let in_time = timeout(CALL_MAX, sent).await.is_ok();
    victim.abort_all();
    while victim.join_next().await.is_some() {}
    in_time
}

/// Length of the audio that a voice sent.
fn sent(context: &ContextRecord) -> Duration {
    Duration::from_micros(context.samples_sent * 1_000_000 / u64::from(context.rate.max(1)))
}

/// What both voices know.
struct Journals {
    first: Journal,
    second: Journal,
}

/// Where one voice ends and the next one begins.
#[derive(Debug)]
struct Seam {
    /// What the first voice was asked to say.
    asked: Vec<String>,
    /// How many words of it it had sent whole, and how much audio.
    sent_words: usize,
    sent: Duration,
    /// What the second voice was asked to say.
    rest: Vec<String>,
    /// How much of the first voice's audio the phone played.
    played: Duration,
    /// Where the last word ends and the next one begins that the first voice was to be heard with.
    between: (Duration, Duration),
    /// The longest silence inside the sentence.
    gap: Duration,
}

impl Seam {
    fn new(recording: &Recording, journals: &Journals) -> Self {
        let (first, second) = (journals.first.contexts(), journals.second.contexts());
        let sent: Duration = first.iter().map(self::sent).sum();
        let (asked, rest) = (words(&first), words(&second));
        let times: Vec<(Duration, Duration)> = first
            .iter()
            .flat_map(|context| &context.words)
            .map(|word| (Duration::from_millis(word.start_ms.into()), Duration::from_millis(word.end_ms.into())))
            .collect();
        let kept = asked.len().saturating_sub(rest.len());
        let ends = kept.checked_sub(1).and_then(|last| times.get(last)).map_or(Duration::ZERO, |word| word.1);
        let begins = times.get(kept).map_or(ends, |word| word.0);
        let heard: usize = recording.played().iter().map(|segment| segment.samples.len()).sum();
        let of_second: Duration = second.iter().map(self::sent).sum();
        Seam {
            sent_words: times.iter().filter(|word| word.1 <= sent).count(),
            sent,
            played: Duration::from_micros(heard as u64 * MICROS_PER_SAMPLE).saturating_sub(of_second),
            between: (ends, begins),
            gap: longest_silence(recording),
            asked,
            rest,
        }
    }

    fn print(&self, out: &mut impl io::Write, story: &Story) -> io::Result<()> {
        let ms = |time: Duration| time.as_millis();
        writeln!(out)?;
        writeln!(out, "{:<18}{} words asked for", "first voice", self.asked.len())?;
        writeln!(out, "{:<18}{} words sent whole, {} ms, then killed", "", self.sent_words, ms(self.sent))?;
        let (ends, begins) = self.between;
        let place = format!("word {} ends at {} ms, the next begins at {} ms", self.kept(), ms(ends), ms(begins));
        writeln!(out, "{:<18}{} ms played; {place}", "", ms(self.played))?;
        let from = self.rest.first().map_or("nothing", String::as_str);
        writeln!(out, "{:<18}{} words asked for, from \"{from}\" on", "second voice", self.rest.len())?;
        writeln!(out, "{:<18}{} ms, at most {}", "longest silence", ms(self.gap), ms(GAP_MAX))?;
        let heard = story.of("turn_over").find_map(|told| told.heard.as_deref()).unwrap_or_default();
        writeln!(out, "{:<18}{} words told to the agent", "heard", heard.split_whitespace().count())
    }

    /// Words that are the first voice's.
    fn kept(&self) -> usize {
        self.asked.len().saturating_sub(self.rest.len())
    }

    /// A seam that shows must not look like one that does not.
    fn judge(&self) -> Result<(), DemoError> {
        is(self.sent_words < self.asked.len(), "the sentence was over before its server was killed")?;
        is(
            !self.rest.is_empty() && self.asked.ends_with(&self.rest),
            "the rest is not what is missing of the sentence",
        )?;
        is(self.kept() <= self.sent_words, "a word is missing")?;
        // A word that was sent and not received, or not timed, is said again as a whole.
        is(self.kept() + 1 >= self.sent_words, "words are said twice")?;
        let (ends, begins) = self.between;
        let is_between = self.played + SLACK >= ends && self.played <= begins.max(ends) + SLACK;
        is(is_between, "what was played of the first voice does not end between two words")?;
        is(self.gap <= GAP_MAX, "the silence at the seam is longer than stated")
    }
}

/// One sample of the phone.
const MICROS_PER_SAMPLE: u64 = 125;
/// The last frame of each voice is filled up with silence, and a resampler's ends are not exact.
const SLACK: Duration = Duration::from_millis(60);

fn judge_story(story: &Story, seam: &Seam) -> Result<(), DemoError> {
    let handed = story.of("failed_over").map(|told| (told.from.as_deref(), told.to.as_deref())).collect::<Vec<_>>();
    is(handed == [(Some("cartesia"), Some(SECOND.1))], "the first voice did not hand over to the second, once")?;
    is(story.of("speech_failed").count() == 0, "speech failed")?;
    let heard = story.of("turn_over").next().and_then(|told| told.heard.as_deref()).unwrap_or_default();
    is(heard.split_whitespace().eq(&seam.asked), "the agent was not told that the whole sentence was heard")
}

fn is(holds: bool, promise: &'static str) -> Result<(), DemoError> {
    if holds { Ok(()) } else { Err(DemoError::Promise(promise)) }
}

/// The words that a voice was asked to say.
fn words(contexts: &[ContextRecord]) -> Vec<String> {
    contexts.iter().flat_map(|context| context.text.split_whitespace()).map(str::to_owned).collect()
}

/// The longest silence between the first and the last sound that the phone played.
fn longest_silence(recording: &Recording) -> Duration {
    const WINDOW: usize = 160;
    const QUIET: f64 = 150.0;
    let played = recording.played();
    let Some((first, last)) = played.first().zip(played.last()) else { return Duration::ZERO };
    let end = last.at + Duration::from_micros(last.samples.len() as u64 * MICROS_PER_SAMPLE);
    let heard = recording.heard_between(first.at, end);
    let is_quiet = |window: &&[i16]| {
        let energy: f64 = window.iter().map(|sample| f64::from(*sample).powi(2)).sum();
        energy < QUIET * QUIET * window.len() as f64
    };
    let windows: Vec<bool> = heard.chunks(WINDOW).map(|window| is_quiet(&window)).collect();
    let sounds = windows.iter().position(|quiet| !quiet).zip(windows.iter().rposition(|quiet| !quiet));
    let Some(inside) = sounds.and_then(|(first, last)| windows.get(first..last)) else { return Duration::ZERO };
    let longest = inside.split(|quiet| !quiet).map(<[bool]>::len).max().unwrap_or_default();
    Duration::from_micros((longest * WINDOW) as u64 * MICROS_PER_SAMPLE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seam(kept: usize, sent_words: usize, played_ms: u64) -> Seam {
        let asked: Vec<String> = "one two three four five six".split(' ').map(str::to_owned).collect();
        let ms = |words: usize| Duration::from_millis(words as u64 * 300);
        Seam {
            rest: asked[kept..].to_vec(),
            asked,
            sent_words,
            sent: ms(sent_words) + Duration::from_millis(120),
            played: Duration::from_millis(played_ms),
            between: (ms(kept), ms(kept)),
            gap: Duration::from_millis(200),
        }
    }

    #[test]
    fn a_seam_is_judged_by_its_words_its_audio_and_its_gap() {
        assert!(seam(3, 3, 910).judge().is_ok());
        // The last word that was sent was not received.
        assert!(seam(2, 3, 600).judge().is_ok());
        for (broken, why) in [
            (seam(4, 3, 1_200), "missing"),
            (seam(1, 3, 300), "twice"),
            (seam(3, 3, 1_050), "between two words"),
            (seam(3, 3, 700), "between two words"),
            (seam(3, 6, 900), "over before"),
            (seam(6, 5, 1_800), "not what is missing"),
            (Seam { gap: Duration::from_millis(520), ..seam(3, 3, 900) }, "longer than stated"),
            (Seam { rest: vec!["else".to_owned(); 3], ..seam(3, 3, 900) }, "not what is missing"),
        ] {
            let told = broken.judge().unwrap_err().to_string();
            assert!(told.contains(why), "{told} instead of {why}");
        }
    }
}
