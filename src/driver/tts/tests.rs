//! What the links of a call make of what they are told and what they hear.

use super::*;
use crate::dialect::fault_of_close;
use crate::dialect::twilio::Twilio;
use crate::driver::account;
use crate::http::outbound::Outbound;
use crate::ids::TurnId;

/// Links to `voices`, and to a player and a store that nobody needs here.
fn links_to(voices: Vec<VoiceLink>, inbox: mpsc::Sender<Input>) -> (Links, Vec<Option<Box<dyn TtsDialect>>>) {
    let player = Player::new(crate::player::Settings::default(), &Outbound::default()).unwrap();
    Links::new(voices, 1, (player, &Phrases::default(), Arc::default()), inbox)
}

#[tokio::test]
async fn the_last_words_of_a_dropped_link_are_not_its_successors() {
    let (inbox, _held) = mpsc::channel(8);
    let pool = voice::Pool::new(voice::Settings::default());
    let (mut links, dialects) = links_to(vec![VoiceLink::Local(pool)], inbox);
    let (mut peers, mut tasks) = (Peers::new(Box::<Twilio>::default(), dialects), JoinSet::new());
    assert!(!links.is_live(0, 0));
    links.tell(CallTime::ZERO, TtsCommand::Dial { voice: 0 }, &mut peers, &mut tasks);
    assert!(links.is_live(0, 1));
    links.tell(CallTime::ZERO, TtsCommand::HangUp { voice: 0 }, &mut peers, &mut tasks);
    assert!(!links.is_live(0, 1));
    links.tell(CallTime::ZERO, TtsCommand::Dial { voice: 0 }, &mut peers, &mut tasks);
    assert!(!links.is_live(0, 1) && links.is_live(0, 2));
    // The end of a link is told once.
    links.note(0, &TtsEvent::Down { voice: 0, fault: fault_of_close(Some(1011), "") });
    assert!(!links.is_live(0, 2));
    while tasks.join_next().await.is_some() {}
}

/// Speaks no language: its events are made up by the test.
struct Mute;

impl TtsDialect for Mute {
    fn dial(&mut self) -> Handshake {
        Handshake { url: "ws://voice.test/".to_owned(), headers: Vec::new() }
    }

    fn decode(&mut self, _: crate::dialect::Message<'_>) -> TtsEvent {
        TtsEvent::Ignored
    }

    fn encode(&mut self, _: CallTime, _: &TtsCommand, _: &mut dyn FnMut(crate::dialect::Outgoing)) {}
}

fn shared() -> (Links, Arc<Account>) {
    let settings = account::Settings {
        succession: account::Succession::Followed,
        max_contexts: Some(15),
        ..account::Settings::plain("v")
    };
    let dialler = Arc::new(crate::driver::Dialler::new(None).unwrap());
    let account = Account::new(settings, dialler, &Meter::default());
    let voice = VoiceLink::Socket { dialect: Box::new(Mute), account: account.clone() };
    (links_to(vec![voice], mpsc::channel(8).0).0, account)
}

fn fault(kind: FaultKind) -> Fault {
    Fault { kind, reason: "test".to_owned() }
}

fn failed_over(kind: FaultKind) -> AgentReport {
    AgentReport::FailedOver { turn: TurnId(1), from: "v".into(), to: "w".into(), fault: fault(kind) }
}

const CONTEXT: ContextId = ContextId { turn: TurnId(1), serial: 1 };

#[tokio::test]
async fn what_fails_is_counted_once_whoever_tells_of_it() {
    let (mut links, account) = shared();
    let is_open = || account.view().breaker == account::Condition::Open;
    let retryable = || fault(FaultKind::Retryable);
    // A context fails, and its turn goes elsewhere because of it.
    links.note(0, &TtsEvent::Failed { context: Some(CONTEXT), fault: retryable() });
    links.judge(&failed_over(FaultKind::Retryable));
    // A link dies without a word; another one in the middle of speech, which may happen to anybody.
    links.note(0, &TtsEvent::Up { voice: 0 });
    links.note(0, &TtsEvent::Down { voice: 0, fault: retryable() });
    links.judge(&failed_over(FaultKind::Retryable));
    // A voice that stalls says nothing: only the call tells of it.
    links.judge(&failed_over(FaultKind::Retryable));
    links.judge(&AgentReport::SpeechFailed { turn: TurnId(1), fault: retryable() });
    assert!(!is_open());
    links.judge(&failed_over(FaultKind::Retryable));
    assert!(is_open());
}

#[tokio::test]
async fn what_agents_ask_for_in_vain_and_what_is_merely_too_much_opens_no_breaker() {
    let (mut links, account) = shared();
    for _ in 0..10 {
        for kind in [FaultKind::Fatal, FaultKind::Busy] {
            links.note(0, &TtsEvent::Failed { context: Some(CONTEXT), fault: fault(kind) });
            links.judge(&failed_over(kind));
        }
        links.note(0, &TtsEvent::Up { voice: 0 });
        links.note(0, &TtsEvent::Down { voice: 0, fault: fault(FaultKind::Idle) });
    }
    assert_eq!(account.view().breaker, account::Condition::Closed);
    assert_eq!(account.view().contexts.limit, Some(1), "the vendor has fewer contexts than we were told");
}

#[tokio::test]
async fn audio_makes_good_what_failed_before_it() {
    let (mut links, account) = shared();
    for serial in 0..20 {
        links.judge(&failed_over(FaultKind::Retryable));
        let context = ContextId { serial, ..CONTEXT };
        links.note(0, &TtsEvent::Audio { context, audio: bytes::Bytes::new() });
    }
    assert_eq!(account.view().breaker, account::Condition::Closed);
}

/// Asks for nothing.
struct Nothing;

impl TtsRequests for Nothing {
    fn request(&self, _: &crate::call::action::Place, _: &str) -> Option<crate::dialect::SpeechRequest> {
        None
    }

    fn is_speech(&self, _: u16, _: &str) -> bool {
        false
    }

    fn refusal(&self, _: u16, _: &[u8]) -> Fault {
        fault(FaultKind::Retryable)
    }

    fn fault_in(&self, _: &[u8], _: bool) -> Option<Fault> {
        None
    }
}

#[tokio::test(start_paused = true)]
async fn a_voice_that_is_asked_over_http_is_spared_by_its_breaker_as_well() {
    let (_, account) = shared();
    let (inbox, mut told) = mpsc::channel(8);
    let exchange = Arc::new(crate::http::Http::new(crate::http::Settings::default()).unwrap());
    let voice = VoiceLink::Requests { dialect: Arc::new(Nothing), exchange, account: account.clone() };
    let (mut links, dialects) = links_to(vec![voice], inbox);
    let (mut peers, mut tasks) = (Peers::new(Box::<Twilio>::default(), dialects), JoinSet::new());
    let mut dial = || drop(links.tell(CallTime::ZERO, TtsCommand::Dial { voice: 0 }, &mut peers, &mut tasks));
    dial();
    assert_eq!(told.recv().await.unwrap().body, Body::Up);
    for _ in 0..5 {
        account.fell_silent();
    }
    dial();
    assert!(matches!(told.recv().await.unwrap().body, Body::Refused(crate::dialect::Refusal::Spared(_))));
    // The rest is over: this link finds out, and its first audio is the verdict.
    tokio::time::sleep(std::time::Duration::from_secs(5)).await;
    dial();
    assert_eq!(told.recv().await.unwrap().body, Body::Up);
    assert_eq!(account.view().breaker, account::Condition::HalfOpen);
    links.note(0, &TtsEvent::Audio { context: CONTEXT, audio: bytes::Bytes::new() });
    assert_eq!(account.view().breaker, account::Condition::Closed);
}
