//! The link to the player of this process: a clip is asked for piece by piece, and comes through the inbox as speech does.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinError, JoinSet};

use super::meter::{ClipEnd, Meter};
use crate::call::action::{Place, TtsCommand};
use crate::call::event::{Clip, Fault, FaultKind, TtsEvent};
use crate::dialect::{Body, Input, Port};
use crate::ids::ContextId;
use crate::player::{FetchError, Origin, Player, PlayerError, Sound, Tones, TonesError};

/// Audio in one input: few inputs for a piece, and short enough that a cancelled one stops soon.
const SLICE: Duration = Duration::from_millis(200);

/// Plays clips for one call until its commands end.
pub(super) async fn serve(
    player: Player,
    meter: Arc<Meter>,
    port: Port,
    inbox: mpsc::Sender<Input>,
    mut commands: mpsc::Receiver<TtsCommand>,
) {
    let mut link =
        Link { player, meter, port, inbox, clips: Vec::new(), loads: JoinSet::new(), pieces: VecDeque::new() };
    loop {
        while let Ok(command) = commands.try_recv() {
            link.take(command);
        }
        let is_open = match link.pieces.pop_front() {
            Some(piece) => link.play(&mut commands, piece).await,
            None => tokio::select! {
                biased;
                command = commands.recv() => command.map(|command| link.take(command)),
                Some(loaded) = link.loads.join_next() => link.loaded(loaded).await,
            },
        };
        if is_open.is_none() {
            return;
        }
    }
}

/// A stretch of a clip that was asked for.
struct Piece {
    context: ContextId,
    times: u32,
    from: Duration,
    length: Duration,
}

struct Playing {
    context: ContextId,
    state: State,
}

enum State {
    /// On its way; what was asked for meanwhile.
    Loading { load: AbortHandle, asked: Vec<Piece> },
    /// Here.
    Ready(Sound),
}

type Loaded = (ContextId, Result<Sound, Refusal>);

/// Why a clip cannot be played.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error(transparent)]
    Player(#[from] PlayerError),
    #[error("the keys {0}")]
    Tones(#[from] TonesError),
}

struct Link {
    player: Player,
    meter: Arc<Meter>,
    port: Port,
    inbox: mpsc::Sender<Input>,
    /// The clips that live contexts play.
    clips: Vec<Playing>,
    /// A clip that is slow to come does not keep another one from being played.
    loads: JoinSet<Loaded>,
    /// What can be played, in the order in which it was asked for.
    pieces: VecDeque<Piece>,
}

impl Link {
    fn take(&mut self, command: TtsCommand) {
        match command {
            TtsCommand::Play { on, clip, times, from, length } => {
                let piece = Piece { context: on.context, times, from, length };
                match self.clips.iter_mut().find(|playing| playing.context == on.context) {
                    None => {
                        let load = self.load(&on, clip);
                        let state = State::Loading { load, asked: vec![piece] };
                        self.clips.push(Playing { context: on.context, state });
                    }
                    Some(Playing { state: State::Loading { asked, .. }, .. }) => asked.push(piece),
                    Some(Playing { state: State::Ready(_), .. }) => self.pieces.push_back(piece),
                }
            }
            TtsCommand::Cancel { context, .. } => self.forget(context),
            // Of a voice, not of the player.
            TtsCommand::Dial { .. }
            | TtsCommand::HangUp { .. }
            | TtsCommand::Reserve { .. }
            | TtsCommand::Speak { .. }
            | TtsCommand::Flush { .. }
            | TtsCommand::Finish { .. } => {}
        }
    }

    fn load(&mut self, on: &Place, clip: Clip) -> AbortHandle {
        let (player, meter) = (self.player.clone(), self.meter.clone());
        let (context, rate) = (on.context, on.format.rate);
        self.loads.spawn(async move {
            let sound = match clip {
                Clip::Tones(keys) => Tones::parse(&keys).map(|tones| tones.sound(rate)).map_err(Refusal::from),
                Clip::Recording(url) => recording(&player, &meter, &url, rate).await.map_err(Refusal::from),
            };
            (context, sound)
        })
    }

    /// A clip came, or did not. `None` when the call is over.
    async fn loaded(&mut self, loaded: Result<Loaded, JoinError>) -> Option<()> {
        let (context, sound) = match loaded {
            Ok(loaded) => loaded,
            // Told by whoever looks after the call's tasks.
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            // It was cancelled, and nobody waits for it.
            Err(_) => return Some(()),
        };
        let Some(playing) = self.clips.iter_mut().find(|playing| playing.context == context) else { return Some(()) };
        match sound {
            Ok(sound) => {
                if let State::Loading { asked, .. } = std::mem::replace(&mut playing.state, State::Ready(sound)) {
                    self.pieces.extend(asked);
                }
                Some(())
            }
            Err(refusal) => {
                self.forget(context);
                let fault = Fault { kind: refusal.kind(), reason: refusal.to_string() };
                self.say(TtsEvent::Failed { context: Some(context), fault }).await
            }
        }
    }

    /// Gives a piece, unless its context is cancelled. `None` when the call is over.
    async fn play(&mut self, commands: &mut mpsc::Receiver<TtsCommand>, piece: Piece) -> Option<()> {
        let Piece { context, times, from, length } = piece;
        let Some(State::Ready(sound)) = self.state(context) else { return Some(()) };
        let piece = sound.piece(times, from, length, SLICE);
        let is_last = piece.is_last();
        for audio in piece {
            self.say(TtsEvent::Audio { context, audio }).await?;
            while let Ok(command) = commands.try_recv() {
                self.take(command);
            }
            if self.state(context).is_none() {
                return Some(());
            }
        }
        if is_last {
            self.forget(context);
            self.say(TtsEvent::Done { context }).await?;
        }
        Some(())
    }

    fn state(&self, context: ContextId) -> Option<&State> {
        self.clips.iter().find(|playing| playing.context == context).map(|playing| &playing.state)
    }

    fn forget(&mut self, context: ContextId) {
        if let Some(State::Loading { load, .. }) = self.state(context) {
            load.abort();
        }
        self.clips.retain(|playing| playing.context != context);
        self.pieces.retain(|piece| piece.context != context);
    }

    async fn say(&self, event: TtsEvent) -> Option<()> {
        self.inbox.send(Input { port: self.port, body: Body::Voice(event) }).await.ok()
    }
}

async fn recording(player: &Player, meter: &Meter, url: &str, rate: u32) -> Result<Sound, PlayerError> {
    let found = player.recording(url, rate).await;
    meter.clip(match &found {
        Ok((_, Origin::Fetched)) => ClipEnd::Fetched,
        Ok((_, Origin::Cached)) => ClipEnd::Cached,
        Err(_) => ClipEnd::Failed,
    });
    found.map(|(sound, _)| sound)
}

impl Refusal {
    fn kind(&self) -> FaultKind {
        match self {
            Refusal::Player(PlayerError::Slow | PlayerError::Fetch(FetchError::Unreachable | FetchError::Cut)) => {
                FaultKind::Retryable
            }
            Refusal::Player(PlayerError::Fetch(FetchError::Status(429))) => FaultKind::Busy,
            Refusal::Player(PlayerError::Fetch(FetchError::Status(500..))) => FaultKind::Retryable,
            Refusal::Player(
                PlayerError::Decode(_)
                | PlayerError::Fetch(
                    FetchError::Status(_)
                    | FetchError::Url
                    | FetchError::Plain
                    | FetchError::Refused(_)
                    | FetchError::Redirect
                    | FetchError::Kind
                    | FetchError::Long,
                ),
            )
            | Refusal::Tones(_) => FaultKind::Fatal,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::{Encoding, SourceFormat};
    use crate::http::outbound::{Outbound, Rules};
    use crate::ids::TurnId;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tokio::time::timeout;

    const SECOND: Duration = Duration::from_secs(1);
    const PORT: Port = Port::Voice { voice: 1, link: 1 };

    struct Bench {
        commands: mpsc::Sender<TtsCommand>,
        inbox: mpsc::Receiver<Input>,
        meter: Arc<Meter>,
        tasks: JoinSet<()>,
    }

    impl Bench {
        /// A link whose call takes `room` inputs before it has to be read.
        fn start(room: usize) -> Bench {
            let settings = crate::player::Settings { allow_http: true, ..crate::player::Settings::default() };
            let local = Outbound::new(Rules::default().with_loopback());
            let (player, meter) = (Player::new(settings, &local).unwrap(), Arc::<Meter>::default());
            let ((commands, pending), (to, inbox)) = (mpsc::channel(64), mpsc::channel(room));
            let mut tasks = JoinSet::new();
            tasks.spawn(serve(player, meter.clone(), PORT, to, pending));
            Bench { commands, inbox, meter, tasks }
        }

        fn ask(&self, turn: u32, clip: Clip, times: u32, from: Duration, length: Duration) {
            let format = SourceFormat { encoding: Encoding::PcmS16Le, rate: 8_000 };
            let on = Place { voice: 1, context: context(turn), format, delivery: Arc::default() };
            self.commands.try_send(TtsCommand::Play { on, clip, times, from, length }).unwrap();
        }

        async fn next(&mut self) -> TtsEvent {
            match timeout(10 * SECOND, self.inbox.recv()).await.unwrap().unwrap() {
                Input { port: PORT, body: Body::Voice(event) } => event,
                other => panic!("{other:?}"),
            }
        }

        /// Bytes of a turn's audio until something else comes, and that.
        async fn audio(&mut self, turn: u32) -> (usize, TtsEvent) {
            let mut bytes = 0;
            loop {
                match self.next().await {
                    TtsEvent::Audio { context: of, audio } => {
                        assert_eq!(of, context(turn));
                        bytes += audio.len();
                    }
                    other => return (bytes, other),
                }
            }
        }
    }

    fn context(turn: u32) -> ContextId {
        ContextId { turn: TurnId(turn), serial: 1 }
    }

    fn tones(keys: &str) -> Clip {
        Clip::Tones(keys.to_owned())
    }

    /// A server that takes connections and answers none, and how many it took.
    async fn silent_server() -> (String, TcpListener) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        (format!("http://{}/secret.wav?key=secret", listener.local_addr().unwrap()), listener)
    }

    #[tokio::test]
    async fn a_clip_comes_in_the_pieces_that_are_asked_for_and_then_is_done() {
        let mut bench = Bench::start(64);
        // Three times half a second.
        bench.ask(1, tones("1w"), 3, Duration::ZERO, SECOND);
        bench.ask(1, tones("1w"), 3, SECOND, SECOND);
        bench.ask(1, tones("1w"), 3, 2 * SECOND, SECOND);
        let (bytes, last) = bench.audio(1).await;
        // A key takes 200 ms and a pause 500 ms.
        assert_eq!((bytes, last), (3 * 5_600 * 2, TtsEvent::Done { context: context(1) }));
        drop(bench.commands);
        timeout(10 * SECOND, bench.tasks.join_next()).await.unwrap().unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_recording_that_is_slow_to_come_keeps_nobody_waiting_and_can_be_called_off() {
        let (url, listener) = silent_server().await;
        let mut bench = Bench::start(64);
        bench.ask(1, Clip::Recording(url), 1, Duration::ZERO, SECOND);
        let (mut connection, _) = timeout(10 * SECOND, listener.accept()).await.unwrap().unwrap();
        bench.ask(2, tones("1"), 1, Duration::ZERO, SECOND);
        assert_eq!(bench.audio(2).await, (3_200, TtsEvent::Done { context: context(2) }));
        bench.commands.try_send(TtsCommand::Cancel { voice: 1, context: context(1) }).unwrap();
        let mut request = String::new();
        timeout(10 * SECOND, connection.read_to_string(&mut request)).await.unwrap().unwrap();
        assert!(request.starts_with("GET /secret.wav"), "{request}");
        bench.ask(3, tones("1"), 1, Duration::ZERO, SECOND);
        assert_eq!(bench.audio(3).await.1, TtsEvent::Done { context: context(3) });
    }

    #[tokio::test]
    async fn a_clip_that_is_called_off_stops_at_once() {
        let mut bench = Bench::start(1);
        bench.ask(1, tones("1"), 1_000, Duration::ZERO, 100 * SECOND);
        assert!(matches!(bench.next().await, TtsEvent::Audio { .. }));
        bench.commands.try_send(TtsCommand::Cancel { voice: 1, context: context(1) }).unwrap();
        bench.ask(2, tones("2"), 1, Duration::ZERO, SECOND);
        let mut late = 0;
        while let TtsEvent::Audio { context: of, .. } = bench.next().await {
            late += usize::from(of == context(1));
        }
        assert!(late <= 2, "{late} slices after the cancel");
    }

    #[tokio::test]
    async fn what_cannot_be_played_fails_with_a_reason_that_holds_nothing_private() {
        let (url, listener) = silent_server().await;
        let mut bench = Bench::start(64);
        bench.ask(1, tones("12x"), 1, Duration::ZERO, SECOND);
        let TtsEvent::Failed { context: Some(of), fault } = bench.next().await else { panic!() };
        assert_eq!((of, fault.kind, fault.reason.contains("12x")), (context(1), FaultKind::Fatal, false));
        bench.ask(2, Clip::Recording(url), 1, Duration::ZERO, SECOND);
        let (mut connection, _) = listener.accept().await.unwrap();
        connection.write_all(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n").await.unwrap();
        let TtsEvent::Failed { fault, .. } = bench.next().await else { panic!() };
        assert_eq!(
            (fault.kind, fault.reason.as_str()),
            (FaultKind::Retryable, "the server of the recording answered 503")
        );
        assert!(bench.meter.render().contains("trunkline_clips_total{kind=\"failed\"} 1"));
    }
}
