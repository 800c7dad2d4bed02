//! The link to the voice in this process: the same commands, the same answers, the same inbox as a vendor's.

use std::collections::VecDeque;

use tokio::sync::mpsc;

use crate::call::action::TtsCommand;
use crate::call::event::{Fault, FaultKind, TimedWord, TtsEvent};
use crate::dialect::{Body, Input, Port};
use crate::ids::ContextId;
use crate::voice::{self, Pool, VoiceError};

/// Something to do, in the order in which it was asked for.
enum Job {
    Speak { context: ContextId, text: String, speed: Option<f32> },
    Finish { context: ContextId },
}

/// Speaks for one call until its commands end.
pub(super) async fn serve(
    pool: Pool,
    port: Port,
    inbox: mpsc::Sender<Input>,
    mut commands: mpsc::Receiver<TtsCommand>,
) {
    let mut link = Link { port, inbox, jobs: VecDeque::new(), spoken: Vec::new() };
    if link.send(Body::Up).await.is_none() {
        return;
    }
    loop {
        while let Ok(command) = commands.try_recv() {
            link.take(command);
        }
        let Some(job) = link.jobs.pop_front() else {
            match commands.recv().await {
                Some(command) => link.take(command),
                None => return,
            }
            continue;
        };
        let done = match job {
            Job::Speak { context, text, speed } => link.speak(&pool, &mut commands, context, &text, speed).await,
            Job::Finish { context } => {
                link.spoken.retain(|(other, _)| *other != context);
                link.say(TtsEvent::Done { context }).await
            }
        };
        if done.is_none() {
            return;
        }
    }
}

struct Link {
    port: Port,
    inbox: mpsc::Sender<Input>,
    jobs: VecDeque<Job>,
    /// Microseconds of audio that each live context has had.
    spoken: Vec<(ContextId, u64)>,
}

impl Link {
    fn take(&mut self, command: TtsCommand) {
        match command {
            TtsCommand::Speak { on, text } => {
                self.jobs.push_back(Job::Speak { context: on.context, text, speed: on.delivery.speed });
            }
            TtsCommand::Finish { on } => self.jobs.push_back(Job::Finish { context: on.context }),
            TtsCommand::Cancel { context, .. } => self.forget(context),
            // Each text is spoken at once, so that there is never anything to flush.
            TtsCommand::Flush { .. }
            | TtsCommand::Dial { .. }
            | TtsCommand::HangUp { .. }
            | TtsCommand::Reserve { .. }
            | TtsCommand::Play { .. } => {}
        }
    }

    /// Speaks one piece; stops when its context is cancelled. `None` when the call is over.
    async fn speak(
        &mut self,
        pool: &Pool,
        commands: &mut mpsc::Receiver<TtsCommand>,
        context: ContextId,
        text: &str,
        speed: Option<f32>,
    ) -> Option<()> {
        if self.at(context).is_none() {
            self.spoken.push((context, 0));
        }
        let synthesis = pool.synthesize(text, speed);
        tokio::pin!(synthesis);
        // Every other call may be before us in the pool's queue. Whoever is cut off meanwhile gives up the place.
        let synthesized = loop {
            tokio::select! {
                biased;
                command = commands.recv() => {
                    self.take(command?);
                    if self.at(context).is_none() {
                        return Some(());
                    }
                }
                synthesized = &mut synthesis => break synthesized,
            }
        };
        let utterance = match synthesized {
            Ok(utterance) => utterance,
            Err(error) => {
                // Its text is given to another context.
                self.forget(context);
                let fault = Fault { kind: kind_of(&error), reason: error.to_string() };
                return self.say(TtsEvent::Failed { context: Some(context), fault }).await;
            }
        };
        let start = self.at(context)?;
        let words: Vec<TimedWord> = utterance.words.iter().map(|word| timed(word, start)).collect();
        self.say(TtsEvent::Words { context, words }).await?;
        for audio in voice::chunks(&utterance) {
            while let Ok(command) = commands.try_recv() {
                self.take(command);
            }
            let micros = audio.len() as u64 * 1_000_000 / (2 * u64::from(voice::RATE));
            let Some((_, spoken)) = self.spoken.iter_mut().find(|(other, _)| *other == context) else { break };
            *spoken += micros;
            self.say(TtsEvent::Audio { context, audio }).await?;
        }
        Some(())
    }

    fn forget(&mut self, context: ContextId) {
        self.jobs.retain(|job| job.context() != context);
        self.spoken.retain(|(other, _)| *other != context);
    }

    fn at(&self, context: ContextId) -> Option<u64> {
        self.spoken.iter().find(|(other, _)| *other == context).map(|(_, spoken)| *spoken)
    }

    async fn say(&self, event: TtsEvent) -> Option<()> {
        self.send(Body::Voice(event)).await
    }

    async fn send(&self, body: Body) -> Option<()> {
        self.inbox.send(Input { port: self.port, body }).await.ok()
    }
}

impl Job {
    fn context(&self) -> ContextId {
        match self {
            Job::Speak { context, .. } | Job::Finish { context } => *context,
        }
    }
}

fn timed(word: &voice::Word, start_us: u64) -> TimedWord {
    let at = |ms: u32| start_us + u64::from(ms) * 1_000;
    TimedWord { text: word.text.clone(), start_us: at(word.start_ms), end_us: at(word.end_ms) }
}

fn kind_of(error: &VoiceError) -> FaultKind {
    match error {
        VoiceError::Busy => FaultKind::Busy,
        VoiceError::Engine => FaultKind::Retryable,
        VoiceError::TextLong { .. } => FaultKind::Fatal,
    }
}
