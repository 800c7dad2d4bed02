//! `trunkline demo --conversation`: a caller, an ear, a model and a voice, all of them emulated, and a real gateway between.

use std::io::{self, Write as _};
use std::path::Path;
use std::time::Duration;

use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use trunkline::emulate::carrier::{self, Clip, HangUp, Moment, clip_of};
use trunkline::emulate::cartesia;
use trunkline::emulate::llm::{self, Rule, Script};
use trunkline::emulate::stt::{self, Dialect};
use trunkline::ids::CallTime;
use trunkline::server;

use super::events::{Told, Wait, watch};
use super::{DemoError, PROGRESS_MAX, gateway_node, last_words, loopback, plan, voice_at};

/// What the caller says, and when: after the greeting, in the middle of the answer, after the answer to that.
const QUESTION: &[u8] = include_bytes!("../../../fixtures/audio/question.wav");
const INTERRUPTION: &[u8] = include_bytes!("../../../fixtures/audio/weasels.wav");
const GOODBYE: &[u8] = include_bytes!("../../../fixtures/audio/goodbye.wav");
const AFTER_GREETING: Duration = Duration::from_millis(4_800);
const INTO_ANSWER: Duration = Duration::from_millis(3_500);
const AFTER_ANSWER: Duration = Duration::from_millis(8_500);

const SETTINGS: &str = r#"
[speech]
chain = ["cartesia"]
phrase_cache_mib = 0
[speech.cartesia]
sample_rate = 16000
[hearing]
provider = "deepgram"
[agent]
kind = "llm"
[agent.llm]
model = "trunkline-script"
greeting = "Hello, this is the night desk. What can I do for you?"
"#;

/// What the model is to say; everything else about its answers is the API's.
fn script() -> Result<Script, llm::ScriptError> {
    Script::new(vec![
        Rule::hearing(&["folder"]).says(
            "You can save it to the **inbox**, which everybody at the desk reads. You can also save it to the archive, where \
             it stays for seven years and nobody ever looks at it again. There is a third folder as well, and most callers \
             prefer that one, because its messages are read out aloud every morning.",
        ),
        Rule::hearing(&["weasels"])
            .says("Oh dear. I have written that down, and an engineer will call you back at 555-0142 before noon."),
        Rule::hearing(&["goodbye"]).says("Thank you for calling. Goodbye!").calls("end_call", json!({})),
    ])
}

/// Performs the conversation.
pub(super) async fn run(wav: &Path) -> Result<(), DemoError> {
    let mut out = io::stdout();
    let voice = cartesia::Server::bind(loopback(), cartesia::Settings::default()).await?;
    let ear = stt::Server::bind(loopback(), stt::Settings::default()).await?;
    let settings = llm::Settings { script: script()?, ..llm::Settings::default() };
    let model = llm::Server::bind(loopback(), settings).await?;
    let mut overrides = voice_at(&voice.url());
    overrides.extend([
        ("hearing.deepgram.url".to_owned(), ear.url_of(Dialect::Nova)),
        ("hearing.deepgram.api_key".to_owned(), super::API_KEY.to_owned()),
        ("agent.llm.url".to_owned(), model.url()),
        ("agent.llm.api_key".to_owned(), super::API_KEY.to_owned()),
    ]);
    let node = gateway_node(SETTINGS, overrides)?;
    let listener = TcpListener::bind(loopback()).await?;
    let gateway = listener.local_addr()?;
    writeln!(
        out,
        "gateway on http://{gateway}; emulated on this machine: Cartesia, Deepgram, a language model, a telephone"
    )?;
    writeln!(out, "the hearing is scripted: it knows the recorded caller's clips and recognises nothing\n")?;

    let stop = CancellationToken::new();
    let mut tasks = JoinSet::new();
    let (voice_stop, ear_stop, model_stop, gateway_stop) = (stop.clone(), stop.clone(), stop.clone(), stop.clone());
    tasks.spawn(async move { voice.run(voice_stop).await });
    tasks.spawn(async move { ear.run(ear_stop).await });
    tasks.spawn(async move { model.run(model_stop).await });
    tasks.spawn(async move {
        // If the gateway cannot listen, the call fails and says so.
        let _ = server::serve(listener, node, gateway_stop).await;
    });
    let mut plan = plan(gateway).await?;
    plan.caller = vec![
        Clip { at: Moment::AfterFirstAudio(AFTER_GREETING), samples: clip_of(QUESTION)? },
        Clip { at: Moment::AfterResumed(INTO_ANSWER), samples: clip_of(INTERRUPTION)? },
        Clip { at: Moment::AfterResumed(AFTER_ANSWER), samples: clip_of(GOODBYE)? },
    ];
    plan.hang_up = HangUp::WhenGatewayCloses;
    let (told, lines) = mpsc::channel(PROGRESS_MAX);
    let (progress, happenings) = mpsc::channel(PROGRESS_MAX);
    tasks.spawn(watch(gateway, plan.call_sid.clone(), told));
    let call = carrier::run(plan, Some(progress), stop.clone());
    let (outcome, story) = tokio::join!(Box::pin(call), follow(happenings, lines));
    let (outcome, story) = (outcome?, story?);
    stop.cancel();
    while tasks.join_next().await.is_some() {}

    outcome.recording.write_wav(wav)?;
    story.print(&mut out)?;
    writeln!(out, "\nwrote {} (left: the caller, right: the gateway)", wav.display())?;
    story.judge(outcome.report.media_after_clear.is_some_and(|after| after.count == 0))
}

/// What the gateway told of the call.
#[derive(Debug, Default)]
pub(super) struct Story {
    told: Vec<Told>,
}

/// Prints what happens, as it happens.
pub(super) async fn follow(
    mut happenings: mpsc::Receiver<carrier::TimelineEntry>,
    mut told: mpsc::Receiver<Told>,
) -> Result<Story, io::Error> {
    let mut out = io::stdout();
    let mut story = Story::default();
    let mut is_told = true;
    loop {
        tokio::select! {
            happening = happenings.recv() => match happening {
                Some(happening) => writeln!(out, "{happening}")?,
                None => break,
            },
            event = told.recv(), if is_told => match event {
                Some(event) => {
                    if let Some(line) = line_of(&event) {
                        writeln!(out, "{:>8}  {line}", CallTime::from_millis(event.at_ms).to_string())?;
                    }
                    story.told.push(event);
                }
                None => is_told = false,
            },
        }
    }
    // The last events may come after the socket is closed.
    while let Some(event) = told.recv().await {
        story.told.push(event);
    }
    Ok(story)
}

fn line_of(told: &Told) -> Option<String> {
    let heard = || told.heard.as_deref().map(last_words).unwrap_or_default();
    match told.event.as_str() {
        "prompt" => Some(format!("the caller said \"{}\"", told.text.as_deref().unwrap_or_default())),
        "interrupted" => Some(format!("interrupted; the caller had heard \"{}\"", heard())),
        "turn_over" => Some(format!("heard to its end: \"{}\"", heard())),
        "answered" => told.wait.map(|wait| format!("answered {:.0} ms after the caller's last sound", wait.total_ms)),
        "failed_over" => {
            let name = |voice: &Option<String>| voice.clone().unwrap_or_default();
            Some(format!("{} failed, {} goes on", name(&told.from), name(&told.to)))
        }
        "speech_failed" | "hearing_failed" | "agent_lost" => Some(told.event.replace('_', " ")),
        _ => None,
    }
}

impl Story {
    /// Every event of a name.
    pub(super) fn of<'a>(&'a self, event: &'a str) -> impl Iterator<Item = &'a Told> {
        self.told.iter().filter(move |told| told.event == event)
    }

    /// What either side said, as the other one heard it; then what every wait was made of.
    fn print(&self, out: &mut impl io::Write) -> Result<(), io::Error> {
        writeln!(
            out,
            "\nTranscript: the caller as the scripted hearing wrote it down, the agent as the caller heard it\n"
        )?;
        for told in &self.told {
            let heard = told.heard.as_deref().unwrap_or_default();
            match told.event.as_str() {
                "prompt" => writeln!(out, "  caller  {}", told.text.as_deref().unwrap_or_default())?,
                "turn_over" => writeln!(out, "  agent   {heard}")?,
                "interrupted" => writeln!(out, "  agent   {heard} -- [interrupted]")?,
                _ => {}
            }
        }
        writeln!(out, "\nFrom the caller's last sound to the first that was heard of the answer, in ms\n")?;
        writeln!(
            out,
            "  {:<6}{:>12}{:>13}{:>10}{:>13}{:>13}{:>12}{:>9}",
            "turn", "transcript", "first token", "TTS text", "first audio", "first frame", "first mark", "total"
        )?;
        for (told, wait) in self.of("answered").filter_map(|told| Some((told, told.wait?))) {
            let Wait { hearing_ms, thinking_ms, gathering_ms, speaking_ms, sending_ms, line_ms, total_ms } = wait;
            writeln!(
                out,
                "  {:<6}{hearing_ms:>12.1}{thinking_ms:>13.1}{gathering_ms:>10.1}{speaking_ms:>13.1}{sending_ms:>13.1}{line_ms:>12.1}{total_ms:>9.1}",
                told.turn.unwrap_or_default(),
            )?;
        }
        Ok(())
    }

    /// A conversation that goes wrong must not look like one that went well.
    fn judge(&self, fell_silent: bool) -> Result<(), DemoError> {
        let is = |holds: bool, promise| if holds { Ok(()) } else { Err(DemoError::Promise(promise)) };
        is(fell_silent, "stale audio followed the clear, or there was none")?;
        is(self.of("prompt").count() == 3, "the model was not told three times what the caller said")?;
        is(self.of("interrupted").count() == 1, "there was not one interruption")?;
        is(self.of("interrupted").all(|told| told.heard.is_some()), "nobody knows what the caller had heard")?;
        is(self.of("answered").count() == 3, "not every wait was measured")?;
        let adds_up = |wait: Wait| {
            let parts =
                [wait.hearing_ms, wait.thinking_ms, wait.gathering_ms, wait.speaking_ms, wait.sending_ms, wait.line_ms];
            (parts.iter().sum::<f64>() - wait.total_ms).abs() < 0.01
        };
        is(self.of("answered").filter_map(|told| told.wait).all(adds_up), "the parts of a wait do not add up")?;
        let ended = self.of("ended").any(|told| told.reason.as_deref() == Some("hung_up"));
        is(ended, "the model's tool did not end the call")
    }
}
