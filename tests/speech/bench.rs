//! One gateway, one emulated vendor, one emulated carrier: what a scenario is made of.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use trunkline::config::{Input, load};
use trunkline::emulate::carrier::{EndedBy, HangUp, Outcome, Plan, run};
use trunkline::emulate::cartesia::{self, Journal};
use trunkline::emulate::{speech, tts};
use trunkline::ids::{CallSid, CallTime, StreamSid};
use trunkline::{gateway, server};

use crate::api::{Api, Events};
use crate::ear;

/// Silence that a caller may hear while speech is owed.
pub(crate) const SILENCE_MAX: Duration = Duration::from_secs(5);
/// Name of the one call of a bench.
const CALL: &str = "CA0001";
/// How long what a call leaves behind may take to go. The emulated vendor's slowest handshake is longer than the rest.
const LEAVE_MAX: Duration = Duration::from_secs(15);

/// Any free port of this machine.
pub(crate) const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// A vendor that speaks in tones, with these faults.
pub(crate) fn vendor(faults: &[&str]) -> cartesia::Settings {
    cartesia::Settings {
        voice: cartesia::Voice::Tone,
        faults: faults.iter().map(|fault| fault.parse().unwrap()).collect(),
        ..cartesia::Settings::default()
    }
}

/// The servers of a scenario.
pub(crate) struct Bench {
    pub(crate) api: Api,
    pub(crate) journal: Journal,
    /// The record of a server of speech over HTTP, if there is one.
    asked: Option<speech::Journal>,
    servers: JoinSet<()>,
    stop: CancellationToken,
    /// Tasks of the runtime while there is no call.
    tasks_idle: usize,
}

impl Bench {
    /// A gateway that speaks through `vendor`, with further settings in TOML.
    pub(crate) async fn with_vendor(vendor: cartesia::Settings, toml: &str) -> Bench {
        let vendor = cartesia::Server::bind(ANY, vendor).await.unwrap();
        let url = vendor.url();
        Bench::with_vendor_at(vendor, &url, toml).await
    }

    /// The same, with the vendor's URL as the gateway is told it.
    pub(crate) async fn with_vendor_at(vendor: cartesia::Server, url: &str, toml: &str) -> Bench {
        let stop = CancellationToken::new();
        let mut servers = JoinSet::new();
        let journal = vendor.journal();
        servers.spawn(vendor.run(stop.clone()));
        let toml = format!(
            "speech.chain = [\"cartesia\"]\nspeech.cartesia.url = \"{url}\"\nspeech.cartesia.api_key = \"k\"\n\
             agent.kind = \"api\"\n{toml}"
        );
        Bench::start(&toml, journal, servers, stop).await
    }

    /// A gateway that asks a server of speech over HTTP, and that server's record.
    pub(crate) async fn asking(vendor: speech::Settings, toml: &str) -> (Bench, speech::Journal) {
        let vendor = speech::Server::bind(ANY, vendor).await.unwrap();
        let (asked, url, stop) = (vendor.journal(), vendor.url(), CancellationToken::new());
        let mut servers = JoinSet::new();
        servers.spawn(vendor.run(stop.clone()));
        let toml =
            format!("speech.openai.url = \"{url}\"\nspeech.openai.api_key = \"k\"\nagent.kind = \"api\"\n{toml}");
        let bench = Bench::start(&toml, nobodys_journal().await, servers, stop).await;
        (Bench { asked: Some(asked.clone()), ..bench }, asked)
    }

    /// A gateway that speaks through `vendor` as the provider `name`, whose socket is at `path`.
    pub(crate) async fn with_provider(vendor: tts::Settings, name: &str, path: &str, toml: &str) -> Bench {
        let vendor = tts::Server::bind(ANY, vendor).await.unwrap();
        let stop = CancellationToken::new();
        let (journal, url, mut servers) = (vendor.journal(), format!("{}{path}", vendor.url()), JoinSet::new());
        servers.spawn(vendor.run(stop.clone()));
        let toml = format!(
            "speech.chain = [\"{name}\"]\nspeech.{name}.url = \"{url}\"\nspeech.{name}.api_key = \"k\"\n\
             agent.kind = \"api\"\n{toml}"
        );
        Bench::start(&toml, journal, servers, stop).await
    }

    /// A gateway that speaks with the local voice.
    pub(crate) async fn local(toml: &str) -> Bench {
        let journal = nobodys_journal().await;
        let toml = format!("speech.chain = [\"local\"]\nagent.kind = \"api\"\n{toml}");
        Bench::start(&toml, journal, JoinSet::new(), CancellationToken::new()).await
    }

    /// A gateway that speaks through `vendor`, with an agent that follows a script. Nothing is spoken beforehand, so that the
    /// vendor hears of nothing but the call.
    pub(crate) async fn scripted(vendor: cartesia::Settings, toml: &str) -> Bench {
        Bench::prepared(vendor, &format!("speech.phrase_cache_mib = 0\n{toml}")).await
    }

    /// The same, and its lines are spoken beforehand.
    pub(crate) async fn prepared(vendor: cartesia::Settings, toml: &str) -> Bench {
        let vendor = cartesia::Server::bind(ANY, vendor).await.unwrap();
        let stop = CancellationToken::new();
        let (journal, url, mut servers) = (vendor.journal(), vendor.url(), JoinSet::new());
        servers.spawn(vendor.run(stop.clone()));
        let toml = format!(
            "speech.chain = [\"cartesia\"]\nspeech.cartesia.url = \"{url}\"\nspeech.cartesia.api_key = \"k\"\n{toml}"
        );
        Bench::start(&toml, journal, servers, stop).await
    }

    /// The goodbye of a node that stops is a phrase that no scenario here asks for, and a machine that is busy with other
    /// tests must not turn calls away.
    async fn start(toml: &str, journal: Journal, mut servers: JoinSet<()>, stop: CancellationToken) -> Bench {
        let beside = [("server.drain_line", ""), ("limits.late_ms", "0")];
        let input = Input {
            file: Some(("test.toml".to_owned(), toml.to_owned())),
            overrides: beside.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
            ..Input::default()
        };
        let loaded = load(&input).unwrap_or_else(|problems| panic!("{problems}"));
        let node = gateway::node(&loaded.config).unwrap();
        let listener = TcpListener::bind(ANY).await.unwrap();
        let api = Api { address: listener.local_addr().unwrap() };
        let until = stop.clone();
        servers.spawn(async move { server::serve(listener, node, until).await.unwrap() });
        // Both servers have started when each waits for its first connection.
        api.ask("GET", "/healthz", None).await;
        let tasks_idle = settled_tasks().await;
        Bench { api, journal, asked: None, servers, stop, tasks_idle }
    }

    /// Calls the gateway. The call's plan may be changed before.
    pub(crate) async fn call(&self, change: impl FnOnce(&mut Plan)) -> Call {
        let url = format!("ws://{}/twilio/media", self.api.address);
        let names = (CallSid::parse(CALL).unwrap(), StreamSid::parse("MZ0001").unwrap());
        let mut plan = Plan::new(url, names.0, names.1);
        (plan.hang_up, plan.duration_max) = (HangUp::WhenGatewayCloses, Duration::from_secs(120));
        change(&mut plan);
        let mut tasks = JoinSet::new();
        let (progress, mut told) = mpsc::channel(64);
        let cancel = CancellationToken::new();
        let mut caller = JoinSet::new();
        caller.spawn(Box::pin(async move { run(plan, Some(progress), cancel).await.unwrap() }));
        let started = told.recv().await.unwrap();
        let zero = Instant::now() - started.at.since(CallTime::ZERO);
        let events = self.api.watch(CALL, &mut tasks).await;
        Call { api: self.api, events, zero, caller, tasks }
    }

    /// Checks that nothing of a call is left, then stops.
    pub(crate) async fn finish(mut self) {
        let counts = || self.journal.counts();
        let until = Instant::now() + LEAVE_MAX;
        while Instant::now() < until {
            let is_closed = counts().closed == counts().handshakes;
            if is_closed && Handle::current().metrics().num_alive_tasks() <= self.tasks_idle + self.tasks_kept() {
                break;
            }
            sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(counts().closed, counts().handshakes, "a socket to the vendor was left open: {:?}", counts());
        let alive = Handle::current().metrics().num_alive_tasks();
        let (idle, kept) = (self.tasks_idle, self.tasks_kept());
        assert!(alive <= idle + kept, "{alive} tasks, {idle} before the call, {kept} for the next one");
        let (_, calls) = self.api.ask("GET", "/v1/calls", None).await;
        assert_eq!(calls["calls"], json!([]));
        let contexts = self.journal.contexts();
        let names: BTreeSet<&str> = contexts.iter().map(|context| context.id.as_str()).collect();
        assert_eq!(names.len(), contexts.len(), "a context id was used twice");
        self.stop.cancel();
        while self.servers.join_next().await.is_some() {}
    }

    /// Tasks that stay for the next call: HTTP connections are kept open, three at most after one call (two are used at once, and one
    /// may have been made in vain while another came free), and each has a task at
    /// either end. One more looks after them.
    fn tasks_kept(&self) -> usize {
        let Some(asked) = &self.asked else { return 0 };
        let open = asked.counts().connections - asked.counts().closed;
        assert!(open <= 3, "{open} connections are kept");
        usize::try_from(open * 2 + open.min(1)).unwrap()
    }
}

/// The record of a vendor that nobody calls, which it proves.
async fn nobodys_journal() -> Journal {
    cartesia::Server::bind(ANY, vendor(&[])).await.unwrap().journal()
}

/// The number of tasks once it has stopped to change.
async fn settled_tasks() -> usize {
    let mut last = usize::MAX;
    loop {
        sleep(Duration::from_millis(20)).await;
        let now = Handle::current().metrics().num_alive_tasks();
        if now == last {
            return now;
        }
        last = now;
    }
}

/// A live call.
pub(crate) struct Call {
    pub(crate) api: Api,
    pub(crate) events: Events,
    /// The carrier's time 0.
    zero: Instant,
    caller: JoinSet<Outcome>,
    tasks: JoinSet<()>,
}

impl Call {
    /// The carrier's time.
    pub(crate) fn now(&self) -> CallTime {
        CallTime::ZERO + self.zero.elapsed()
    }

    /// Says something; the turn's number.
    pub(crate) async fn say(&self, body: Value) -> u64 {
        let (status, answer) = self.api.ask("POST", &format!("/v1/calls/{CALL}/say"), Some(body)).await;
        assert_eq!(status, 202, "{answer}");
        answer["turn"].as_u64().unwrap()
    }

    /// Says a turn and waits until the caller has heard it, or not.
    pub(crate) async fn speak(&self, text: &str) -> Spoken {
        let from = self.now();
        let path = format!("/v1/calls/{CALL}/say?wait=heard");
        let (status, view) = self.api.ask("POST", &path, Some(json!({ "text": text }))).await;
        assert_eq!(status, 200, "{view}");
        Spoken { from, to: self.now(), view }
    }

    /// Says a turn token by token.
    pub(crate) async fn say_tokens(&self, tokens: &[&str]) -> u64 {
        let last = tokens.len() - 1;
        let mut turn = None;
        for (index, token) in tokens.iter().enumerate() {
            let mut body = json!({ "text": token, "last": index == last });
            if let Some(turn) = turn {
                body["turn"] = json!(turn);
            }
            turn = Some(self.say(body).await);
        }
        turn.unwrap()
    }

    /// Says a turn as a stream of text, one letter at a time.
    pub(crate) async fn stream(&self, text: &str) -> u64 {
        let answer = self.api.stream(&format!("/v1/calls/{CALL}/say"), text).await;
        answer["turn"].as_u64().unwrap()
    }

    /// Waits for a turn to end; its last event.
    pub(crate) async fn over(&self, turn: u64) -> Value {
        let ends = ["turn_over", "interrupted"];
        let is_end = |event: &Value| event["turn"] == turn && ends.iter().any(|end| event["event"] == *end);
        self.events.until(&format!("the end of turn {turn}"), is_end).await
    }

    /// Waits for the first sound of a turn: its own, or the fallback line's.
    pub(crate) async fn sounds(&self, turn: u64) {
        let begins = ["first_audio", "speech_failed"];
        let is_begin = |event: &Value| event["turn"] == turn && begins.iter().any(|begin| event["event"] == *begin);
        self.events.until(&format!("the beginning of turn {turn}"), is_begin).await;
    }

    /// Silences the gateway.
    pub(crate) async fn clear(&self) {
        assert_eq!(self.api.ask("POST", &format!("/v1/calls/{CALL}/clear"), None).await.0, 202);
    }

    /// The gateway hangs up; what the caller heard.
    pub(crate) async fn hang_up(self) -> Outcome {
        let (status, _) = self.api.ask("DELETE", &format!("/v1/calls/{CALL}"), None).await;
        assert_eq!(status, 202, "the call was over before it was to be");
        let outcome = self.leave().await;
        assert_eq!(outcome.report.ended, EndedBy::Gateway { code: Some(1000) });
        outcome
    }

    /// Waits for the call to end, whoever ends it.
    pub(crate) async fn leave(mut self) -> Outcome {
        let outcome = self.caller.join_next().await.unwrap().unwrap();
        assert_eq!(outcome.report.warnings_total, 0, "{:?}", outcome.report.warnings);
        // The stream of events ends with the call.
        while self.tasks.join_next().await.is_some() {}
        outcome
    }
}

/// A turn that was waited for.
#[derive(Debug)]
pub(crate) struct Spoken {
    /// When its text was given.
    pub(crate) from: CallTime,
    /// When it was over.
    pub(crate) to: CallTime,
    /// What the gateway made of it.
    pub(crate) view: Value,
}

impl Spoken {
    /// Checks that the caller was never left in silence.
    pub(crate) fn check_silence(&self, outcome: &Outcome) {
        let silence = ear::longest_silence(outcome, self.from, self.to);
        assert!(silence <= SILENCE_MAX, "{silence:?} of silence in {self:?}");
    }

    /// Checks that all of `text` was heard, in tones.
    pub(crate) fn check_spoken(&self, outcome: &Outcome, text: &str) {
        self.check_silence(outcome);
        assert_eq!(self.view["outcome"], "heard", "{:?}", self.view);
        assert_eq!(self.view["heard"], text);
        let heard = ear::heard_for(outcome, self.from, self.to, |sound| matches!(sound, ear::Sound::Tone(_)));
        let whole = cartesia_length(text);
        assert!(heard + whole / 4 >= whole, "{heard:?} of {whole:?}");
    }

    /// Checks that the fallback line was heard, in the local voice.
    pub(crate) fn check_fallback(&self, outcome: &Outcome) {
        self.check_silence(outcome);
        assert_eq!(self.view["outcome"], "failed", "{:?}", self.view);
        let heard = ear::heard_for(outcome, self.from, self.to, |sound| sound == ear::Sound::Other);
        assert!(heard >= Duration::from_millis(600), "only {heard:?} of the fallback line");
    }
}

/// How long the emulated vendor speaks at a text.
pub(crate) fn cartesia_length(text: &str) -> Duration {
    let ms = text.chars().count() as u64 * u64::from(cartesia::tone::MS_PER_CHAR);
    Duration::from_millis(ms)
}
