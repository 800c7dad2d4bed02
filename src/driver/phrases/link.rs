//! The link of a call to what one of its voices has spoken before: the same commands, the same answers, the same inbox as a
//! voice's. A text is answered when it is whole, with all of its speech or with the word that it is not there.

use std::collections::VecDeque;

use tokio::sync::mpsc;

use super::{Part, Phrases, Speech};
use crate::call::action::{Place, TtsCommand};
use crate::call::event::{Fault, FaultKind, TtsEvent, VoiceIndex};
use crate::dialect::{Body, Input, Port};
use crate::ids::ContextId;

/// Answers one call until its commands end.
pub(in crate::driver) async fn serve(
    phrases: Phrases,
    voice: VoiceIndex,
    port: Port,
    inbox: mpsc::Sender<Input>,
    mut commands: mpsc::Receiver<TtsCommand>,
) {
    let mut link = Link { phrases, voice, port, inbox, texts: Vec::new(), answers: VecDeque::new() };
    loop {
        while let Ok(command) = commands.try_recv() {
            link.take(command);
        }
        let is_open = match link.answers.pop_front() {
            Some((context, speech)) => link.answer(&mut commands, context, speech).await,
            None => commands.recv().await.map(|command| link.take(command)),
        };
        if is_open.is_none() {
            return;
        }
    }
}

struct Link {
    phrases: Phrases,
    voice: VoiceIndex,
    port: Port,
    inbox: mpsc::Sender<Input>,
    /// What live contexts have been given.
    texts: Vec<(ContextId, String)>,
    /// What is to be answered, in the order in which it was asked for.
    answers: VecDeque<(ContextId, Option<Speech>)>,
}

impl Link {
    fn take(&mut self, command: TtsCommand) {
        match command {
            TtsCommand::Speak { on, text } => match self.texts.iter_mut().find(|(context, _)| *context == on.context) {
                Some((_, before)) => before.push_str(&text),
                None => self.texts.push((on.context, text)),
            },
            TtsCommand::Finish { on } => self.finish(&on),
            TtsCommand::Cancel { context, .. } => {
                self.texts.retain(|(other, _)| *other != context);
                self.answers.retain(|(other, _)| *other != context);
            }
            // A text is answered when it is whole, and there is nothing to dial.
            TtsCommand::Flush { .. }
            | TtsCommand::Dial { .. }
            | TtsCommand::HangUp { .. }
            | TtsCommand::Reserve { .. }
            | TtsCommand::Play { .. } => {}
        }
    }

    fn finish(&mut self, on: &Place) {
        let Some((_, text)) = self.texts.iter().find(|(context, _)| *context == on.context) else { return };
        let speech = self.phrases.find(self.voice, on, text.trim());
        self.answers.push_back((on.context, speech));
    }

    /// Gives an answer, unless its context is cancelled. `None` when the call is over.
    async fn answer(
        &mut self,
        commands: &mut mpsc::Receiver<TtsCommand>,
        context: ContextId,
        speech: Option<Speech>,
    ) -> Option<()> {
        let Some(speech) = speech else {
            self.texts.retain(|(other, _)| *other != context);
            let fault = Fault { kind: FaultKind::Retryable, reason: "not spoken before".to_owned() };
            return self.say(TtsEvent::Failed { context: Some(context), fault }).await;
        };
        for part in speech.iter() {
            self.say(part.event(context)).await?;
            while let Ok(command) = commands.try_recv() {
                self.take(command);
            }
            if !self.texts.iter().any(|(other, _)| *other == context) {
                return Some(());
            }
        }
        self.texts.retain(|(other, _)| *other != context);
        self.say(TtsEvent::Done { context }).await
    }

    async fn say(&self, event: TtsEvent) -> Option<()> {
        self.inbox.send(Input { port: self.port, body: Body::Voice(event) }).await.ok()
    }
}

impl Part {
    /// The same, said of a call's context.
    fn event(&self, context: ContextId) -> TtsEvent {
        match self {
            Part::Audio(audio) => TtsEvent::Audio { context, audio: audio.clone() },
            Part::Words(words) => TtsEvent::Words { context, words: words.clone() },
            Part::Spoken(texts) => TtsEvent::Spoken { context, texts: *texts },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use bytes::Bytes;
    use tokio::task::JoinSet;
    use tokio::time::timeout;

    use super::*;
    use crate::audio::{Encoding, SourceFormat};
    use crate::call::event::{Delivery, TimedWord};
    use crate::call::phrases::Phrase;
    use crate::call::settings::Voice;
    use crate::ids::TurnId;

    const PORT: Port = Port::Voice { voice: 2, link: 1 };

    struct Bench {
        commands: mpsc::Sender<TtsCommand>,
        inbox: mpsc::Receiver<Input>,
        _tasks: JoinSet<()>,
    }

    impl Bench {
        /// A link to a store that has `parts` for the text `Hi. You.`; its call takes `room` inputs before it has to be read.
        fn start(parts: Vec<Part>, room: usize) -> Bench {
            let phrase = Phrase { voice: 0, text: "Hi. You.".to_owned(), delivery: Delivery::default() };
            let voices = vec![Voice::plain("v", Encoding::Mulaw, None)];
            let store = Phrases::new(vec![phrase], voices, 10_000, Arc::default());
            store.keep((0, 8_000), parts.into());
            let ((commands, pending), (to, inbox)) = (mpsc::channel(16), mpsc::channel(room));
            let mut tasks = JoinSet::new();
            tasks.spawn(serve(store, 0, PORT, to, pending));
            Bench { commands, inbox, _tasks: tasks }
        }

        fn say(&self, turn: u32, texts: &[&str]) {
            let format = SourceFormat { encoding: Encoding::Mulaw, rate: 8_000 };
            let on = Place { voice: 2, context: context(turn), format, delivery: Arc::default() };
            for text in texts {
                self.commands.try_send(TtsCommand::Speak { on: on.clone(), text: (*text).to_owned() }).unwrap();
            }
            self.commands.try_send(TtsCommand::Finish { on }).unwrap();
        }

        async fn next(&mut self) -> TtsEvent {
            match timeout(Duration::from_secs(10), self.inbox.recv()).await.unwrap().unwrap() {
                Input { port: PORT, body: Body::Voice(event) } => event,
                other => panic!("{other:?}"),
            }
        }
    }

    fn context(turn: u32) -> ContextId {
        ContextId { turn: TurnId(turn), serial: 1 }
    }

    #[tokio::test]
    async fn a_text_is_answered_when_it_is_whole_with_all_that_was_said_of_it() {
        let word = TimedWord { text: "Hi".to_owned(), start_us: 0, end_us: 5 };
        let parts = vec![
            Part::Words(vec![word.clone()]),
            Part::Audio(Bytes::from_static(b"hi")),
            Part::Spoken(1),
            Part::Audio(Bytes::from_static(b"you")),
        ];
        let mut bench = Bench::start(parts, 64);
        bench.say(1, &["Hi. ", "You. "]);
        bench.say(2, &["Somebody. "]);
        let (one, two) = (context(1), context(2));
        assert_eq!(bench.next().await, TtsEvent::Words { context: one, words: vec![word] });
        assert_eq!(bench.next().await, TtsEvent::Audio { context: one, audio: Bytes::from_static(b"hi") });
        assert_eq!(bench.next().await, TtsEvent::Spoken { context: one, texts: 1 });
        assert_eq!(bench.next().await, TtsEvent::Audio { context: one, audio: Bytes::from_static(b"you") });
        assert_eq!(bench.next().await, TtsEvent::Done { context: one });
        let TtsEvent::Failed { context: of, fault } = bench.next().await else { panic!() };
        assert_eq!((of, fault.kind), (Some(two), FaultKind::Retryable));
        assert!(!fault.reason.contains("Somebody"));
    }

    #[tokio::test]
    async fn a_text_that_is_called_off_stops() {
        let parts = vec![Part::Audio(Bytes::from_static(b"x")); 50];
        let mut bench = Bench::start(parts, 1);
        bench.say(1, &["Hi. You."]);
        assert!(matches!(bench.next().await, TtsEvent::Audio { .. }));
        bench.commands.try_send(TtsCommand::Cancel { voice: 2, context: context(1) }).unwrap();
        bench.say(2, &["Nobody."]);
        let mut late = 0;
        while let TtsEvent::Audio { .. } = bench.next().await {
            late += 1;
        }
        assert!(late <= 2, "{late} pieces after the cancel");
    }
}
