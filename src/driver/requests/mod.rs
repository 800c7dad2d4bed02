//! The link to a voice that is sent a request for each text: the same commands, the same answers, the same inbox as a
//! socket's.
//!
//! Texts are asked for in the order in which they came, and their speech is passed on in that order, piece by piece as it
//! comes. As soon as one is being heard the next one is asked for as well, so that there is no gap between two sentences;
//! its answer waits where it is, unread, so that never more than two are on their way. A context that is cancelled, or
//! fails, takes its requests with it: to drop a request is to close its connection.

mod answer;

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::mpsc;

use crate::call::action::{Place, TtsCommand};
use crate::call::event::{Fault, FaultKind, TtsEvent};
use crate::dialect::{Body, Input, Port, SpeechRequest, TtsRequests};
use crate::http::Exchange;
use crate::ids::ContextId;
use answer::{Answer, Asking, Read, Speech};

/// Contexts that failed and are remembered: commands for them may be on their way while the core does not know yet.
const FAILED_MAX: usize = 16;

/// Speaks for one call until its commands end.
pub(super) async fn serve(
    (dialect, exchange): (Arc<dyn TtsRequests>, Arc<dyn Exchange>),
    port: Port,
    inbox: mpsc::Sender<Input>,
    mut commands: mpsc::Receiver<TtsCommand>,
) {
    let mut link = Link {
        asking: Asking { dialect, exchange },
        port,
        inbox,
        jobs: VecDeque::new(),
        spoken: Vec::new(),
        failed: VecDeque::new(),
    };
    // There is nothing to be dialled: each request finds its own connection.
    if link.send(Body::Up).await.is_none() {
        return;
    }
    loop {
        let step = tokio::select! {
            biased;
            command = commands.recv() => match command {
                Some(command) => {
                    link.take(command);
                    continue;
                }
                None => return,
            },
            step = link.step() => step,
        };
        if link.carry_out(step).await.is_none() {
            return;
        }
    }
}

/// Something to do, in the order in which it was asked for.
enum Job {
    Speak(Box<Text>),
    Finish { context: ContextId },
}

/// A text that is to be spoken.
struct Text {
    context: ContextId,
    /// `None`: nothing in it could be heard.
    request: Option<SpeechRequest>,
    /// Longest speech that it can be, in bytes.
    bytes_max: u64,
    /// It was refused while another one was spoken, and waits for its turn.
    is_patient: bool,
    state: State,
}

enum State {
    Waiting,
    /// Asked for.
    Asked(Answer),
    /// There is an answer, which nobody reads yet; or there is none.
    Answered(Result<Box<Speech>, Fault>),
    /// The answer is being passed on.
    Heard(Box<Speech>),
}

/// What happened to the first job.
enum Step {
    /// A piece of its speech came.
    Audio { context: ContextId, audio: bytes::Bytes },
    /// All of its speech came.
    Spoken { context: ContextId },
    /// It will not be spoken.
    Failed { context: ContextId, fault: Fault },
    /// It was the end of its context.
    Finished { context: ContextId },
    /// Nothing, but something happened to the one behind it.
    Ahead,
}

struct Link {
    asking: Asking,
    port: Port,
    inbox: mpsc::Sender<Input>,
    jobs: VecDeque<Job>,
    /// Texts that each live context has spoken.
    spoken: Vec<(ContextId, usize)>,
    failed: VecDeque<ContextId>,
}

impl Link {
    fn take(&mut self, command: TtsCommand) {
        match command {
            TtsCommand::Speak { on, .. } | TtsCommand::Finish { on } if self.failed.contains(&on.context) => {}
            TtsCommand::Speak { on, text } => {
                let text = Text::new(&self.asking, &on, &text);
                self.jobs.push_back(Job::Speak(Box::new(text)));
            }
            TtsCommand::Finish { on } => self.jobs.push_back(Job::Finish { context: on.context }),
            TtsCommand::Cancel { context, .. } => self.forget(context),
            // Each text is asked for at once, so that there is never anything to flush.
            TtsCommand::Flush { .. }
            | TtsCommand::Reserve { .. }
            | TtsCommand::Dial { .. }
            | TtsCommand::HangUp { .. }
            | TtsCommand::Play { .. } => {}
        }
    }

    /// Waits for the next thing that happens; never, if there is nothing to do. Cancel-safe: what comes stays in the jobs.
    async fn step(&mut self) -> Step {
        let Link { asking, jobs, .. } = self;
        let Some((first, rest)) = jobs.make_contiguous().split_first_mut() else { return std::future::pending().await };
        let next = rest.iter_mut().find_map(Job::text).filter(|_| first.is_heard());
        let ahead = async {
            match next {
                Some(text) => text.fetch_ahead(asking).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            step = first.advance(asking) => step,
            () = ahead => Step::Ahead,
        }
    }

    /// Tells the core of a step; `None` when the call is over. Waits while the inbox is full, which stops the reading.
    async fn carry_out(&mut self, step: Step) -> Option<()> {
        match step {
            Step::Audio { context, audio } => self.say(TtsEvent::Audio { context, audio }).await,
            Step::Spoken { context } => {
                self.jobs.pop_front();
                let texts = self.count(context);
                self.say(TtsEvent::Spoken { context, texts }).await
            }
            Step::Failed { context, fault } => {
                self.forget(context);
                if self.failed.len() == FAILED_MAX {
                    self.failed.pop_front();
                }
                self.failed.push_back(context);
                self.say(TtsEvent::Failed { context: Some(context), fault }).await
            }
            Step::Finished { context } => {
                self.jobs.pop_front();
                self.spoken.retain(|(other, _)| *other != context);
                self.say(TtsEvent::Done { context }).await
            }
            Step::Ahead => Some(()),
        }
    }

    /// One more text of a context was spoken: how many now.
    fn count(&mut self, context: ContextId) -> usize {
        if let Some((_, texts)) = self.spoken.iter_mut().find(|(other, _)| *other == context) {
            *texts += 1;
            return *texts;
        }
        self.spoken.push((context, 1));
        1
    }

    fn forget(&mut self, context: ContextId) {
        self.jobs.retain(|job| job.context() != context);
        self.spoken.retain(|(other, _)| *other != context);
    }

    async fn say(&mut self, event: TtsEvent) -> Option<()> {
        self.send(Body::Voice(event)).await
    }

    async fn send(&mut self, body: Body) -> Option<()> {
        self.inbox.send(Input { port: self.port, body }).await.ok()
    }
}

impl Job {
    fn context(&self) -> ContextId {
        match self {
            Job::Speak(text) => text.context,
            Job::Finish { context } => *context,
        }
    }

    fn text(&mut self) -> Option<&mut Text> {
        match self {
            Job::Speak(text) => Some(text),
            Job::Finish { .. } => None,
        }
    }

    /// Whether speech of it has come: from then on it needs nobody's patience.
    fn is_heard(&self) -> bool {
        match self {
            Job::Speak(text) => matches!(&text.state, State::Heard(speech) if speech.has_begun()),
            Job::Finish { .. } => false,
        }
    }

    /// Goes on with the first job until something comes of it. Cancel-safe.
    async fn advance(&mut self, asking: &Asking) -> Step {
        match self {
            Job::Speak(text) => text.advance(asking).await,
            Job::Finish { context } => Step::Finished { context: *context },
        }
    }
}

impl Text {
    fn new(asking: &Asking, on: &Place, text: &str) -> Self {
        Text {
            context: on.context,
            request: asking.dialect.request(on, text),
            bytes_max: answer::bytes_max(on.format, text),
            is_patient: false,
            state: State::Waiting,
        }
    }

    async fn advance(&mut self, asking: &Asking) -> Step {
        let context = self.context;
        loop {
            match &mut self.state {
                State::Waiting => match self.request.clone() {
                    Some(request) => self.state = State::Asked(asking.ask(request, self.bytes_max)),
                    None => return Step::Spoken { context },
                },
                State::Asked(answer) => self.state = State::Answered(answer.await),
                State::Answered(_) => {
                    let answered = std::mem::replace(&mut self.state, State::Waiting);
                    match answered {
                        State::Answered(Ok(speech)) => self.state = State::Heard(speech),
                        State::Answered(Err(fault)) => return Step::Failed { context, fault },
                        State::Waiting | State::Asked(_) | State::Heard(_) => self.state = answered,
                    }
                }
                State::Heard(speech) => {
                    return match speech.next(asking.dialect.as_ref()).await {
                        Read::Audio(audio) => Step::Audio { context, audio },
                        Read::End => Step::Spoken { context },
                        Read::Fault(fault) => Step::Failed { context, fault },
                    };
                }
            }
        }
    }

    /// Asks for it while another one is heard; ready when its answer has begun, and never after that.
    async fn fetch_ahead(&mut self, asking: &Asking) {
        loop {
            match (&mut self.state, &self.request) {
                (State::Waiting, Some(request)) if !self.is_patient => {
                    self.state = State::Asked(asking.ask(request.clone(), self.bytes_max));
                }
                (State::Asked(answer), _) => {
                    let answered = answer.await;
                    // An account that serves no second request at once may serve it when the first is done.
                    self.is_patient = answered.as_ref().is_err_and(|fault| fault.kind == FaultKind::Busy);
                    self.state = if self.is_patient { State::Waiting } else { State::Answered(answered) };
                    return;
                }
                (State::Waiting | State::Answered(_) | State::Heard(_), _) => return std::future::pending().await,
            }
        }
    }
}

#[cfg(test)]
mod tests;
