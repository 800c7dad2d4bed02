//! One call in virtual time: a session of the gateway between a model carrier, model voices and a model agent, who speak
//! to it in the real words of the wire.

mod doings;
mod gateway;
mod ways;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use trunkline::call::action::EndReason;
use trunkline::ids::{CallTime, TurnId};

use crate::agent::Agent;
use crate::checks::{Checks, Spoken, Tolerance};
use crate::dice::Dice;
use crate::local::Local;
use crate::partners::Partners;
use crate::phrases::Phrases;
use crate::plan::{Network, Plan, Step};
use crate::player::Player;
use crate::session::{self, Body, Entry, Header, Session, ToVoice, What};
use crate::twilio::Twilio;
use crate::vendor::Vendor;

/// Things that happen in one call at most.
const STEPS_MAX: u64 = 400_000;
/// What one input may bring about at most: a lead, what is caught up, and the reports of every turn.
const SENT_MAX: usize = 400;
/// Speech made but unsent of one context that is alive, in milliseconds: the high water of 20 s, and a portion of text.
const UNSENT_MS_MAX: u32 = 60_000;
/// An open turn ends after half a minute without text; whatever else is live is over sooner.
const AFTERMATH: Duration = Duration::from_secs(48);

/// Something on its way.
#[derive(Debug)]
enum Parcel {
    /// To the call's inbox.
    Inbox(What),
    /// To the carrier.
    Carrier(String),
    /// To a voice, on one of its links.
    Voice(usize, u32, ToVoice),
}

/// A direction of a socket: what is sent later arrives later.
#[derive(Debug, Default)]
struct Pipe {
    last: CallTime,
}

impl Pipe {
    fn send(&mut self, at: CallTime) -> CallTime {
        self.last = self.last.max(at);
        self.last
    }
}

/// A voice behind its link.
#[derive(Debug)]
enum Voice {
    Vendor(Box<Vendor>),
    Local(Local),
    Player(Player),
    Phrases(Phrases),
}

#[derive(Debug)]
struct Link {
    voice: Voice,
    count: u32,
    live: bool,
    there: Pipe,
    back: Pipe,
}

/// Where a context's name is found.
#[derive(Clone, Copy, Debug)]
struct Whose {
    turn: TurnId,
    voice: usize,
    index: usize,
}

pub(crate) struct World {
    pub(crate) header: Header,
    pub(crate) tape: Vec<Entry>,
    /// Every line that was sent, for comparison.
    pub(crate) sent: u64,
    pub(crate) checksum: u64,
    pub(crate) story: bool,
    pub(crate) reason: Option<EndReason>,
    /// What became of each turn, for people.
    outcomes: Vec<String>,
    pub(crate) now: CallTime,
    session: Session,
    dice: Dice,
    network: Network,
    carrier: Twilio,
    links: Vec<Link>,
    partners: Partners,
    agent: Agent,
    pub(crate) checks: Checks,
    /// Turns that were cut off, and how many words of each the agent was told were heard.
    pub(crate) cuts: Vec<(TurnId, usize)>,
    parcels: BTreeMap<(CallTime, u64), Parcel>,
    count: u64,
    to_carrier: Pipe,
    to_inbox: Pipe,
    outage_until: CallTime,
    asleep_until: CallTime,
    /// What arrived while the process slept.
    slept: VecDeque<What>,
    numbers: u16,
    whose: BTreeMap<u16, Whose>,
    sent_ms: BTreeMap<u16, u32>,
    steps: VecDeque<(CallTime, Step)>,
    caller: Vec<u8>,
    quiet_bytes: usize,
    quiet_every: usize,
    frames: usize,
    stream_from: CallTime,
    next_frame: CallTime,
    hung_up: bool,
    meddling: u64,
    sleeps: bool,
    vendor_ms: (u64, u64),
    lively_until: CallTime,
    ending: Option<Step>,
    sound: crate::sound::Sound,
    happened: u64,
}

impl World {
    pub(crate) fn new(plan: Plan) -> Self {
        let header = session::header(&plan);
        let network = plan.network;
        let tolerance = Tolerance {
            marks: plan.marks,
            sound: plan.sound,
            round_trip_ms: 2 * (network.delay_ms + network.jitter_ms)
                + 5
                + network.outage_ms * u64::from(network.outages > 0),
            jitter_ms: network.jitter_ms,
            outage_ms: if network.outages > 0 { network.outage_ms } else { 0 },
            unruly: network.loss + network.disorder > 0 || plan.sleeps,
            sleeps: plan.sleeps,
            exact: plan.wanted.is_none() || (plan.manner.timed && plan.manner.foretold),
        };
        let link = |voice| Link { voice, count: 0, live: false, there: Pipe::default(), back: Pipe::default() };
        let vendor = plan.wanted.map(|wanted| Voice::Vendor(Box::new(Vendor::new(wanted, plan.manner, plan.sound))));
        let voices = vendor.into_iter().chain([Voice::Local(Local::new(plan.sound))]);
        // The player is always there, and so is what was spoken before: they are never dialled.
        let there = |voice| Link { count: 1, live: true, ..link(voice) };
        let spoken = |voice: usize| {
            let own = plan.talk.phrases.iter().filter(|(phrase, known)| *known && phrase.voice == voice);
            Voice::Phrases(Phrases::new(plan.sound, own.map(|(phrase, _)| phrase.text.clone()).collect()))
        };
        let player = there(Voice::Player(Player::new(plan.sound)));
        let phrases: Vec<Link> = (0..header.settings.voices.len()).map(|voice| there(spoken(voice))).collect();
        World {
            session: Session::new(&header),
            partners: Partners::new(&header),
            checks: Checks::new(tolerance, header.settings.playout.lead),
            header,
            tape: Vec::new(),
            sent: 0,
            checksum: 0,
            story: false,
            reason: None,
            outcomes: Vec::new(),
            cuts: Vec::new(),
            now: CallTime::ZERO,
            dice: Dice::new(plan.seed ^ 0x5EED),
            network,
            carrier: Twilio::new(plan.marks),
            links: voices.map(link).chain([player]).chain(phrases).collect(),
            agent: plan.agent,
            parcels: BTreeMap::new(),
            count: 0,
            to_carrier: Pipe::default(),
            to_inbox: Pipe::default(),
            outage_until: CallTime::ZERO,
            asleep_until: CallTime::ZERO,
            slept: VecDeque::new(),
            numbers: 0,
            whose: BTreeMap::new(),
            sent_ms: BTreeMap::new(),
            steps: plan.steps.into(),
            caller: plan.caller,
            quiet_bytes: plan.quiet_bytes,
            quiet_every: plan.quiet_every,
            frames: 0,
            stream_from: CallTime::ZERO,
            next_frame: CallTime::ZERO,
            hung_up: false,
            meddling: plan.meddling,
            sleeps: plan.sleeps,
            vendor_ms: plan.vendor_ms,
            lively_until: plan.lively_until,
            ending: plan.ending,
            sound: plan.sound,
            happened: 0,
        }
    }

    /// Words of a turn whose last sound the carrier has played: of one that was cut off, all that it ever will.
    pub(crate) fn played_words(&self, turn: TurnId) -> usize {
        let of_turn = self.whose.iter().filter(|(_, whose)| whose.turn == turn);
        let played = of_turn.map(|(number, whose)| {
            let words = match &self.links[whose.voice].voice {
                Voice::Vendor(vendor) => &vendor.model.contexts[whose.index].words,
                Voice::Phrases(phrases) => &phrases.voice.contexts[whose.index].words,
                Voice::Local(_) | Voice::Player(_) => return 0,
            };
            let played = self.carrier.played_ms(*number);
            words.iter().filter(|(.., end)| played > 0 && *end <= played).count()
        });
        played.sum()
    }

    /// Lives the whole call.
    pub(crate) fn live(&mut self) {
        let start = self.carrier.start();
        self.post_from_carrier(Body::Text(Twilio::connected()));
        self.post_from_carrier(Body::Text(start));
        self.stream_from = self.now;
        self.next_frame = self.now + Duration::from_millis(20);
        self.run_to(self.lively_until);
        self.agent.hush();
        self.meddling = 0;
        for link in &mut self.links {
            if let Voice::Vendor(vendor) = &mut link.voice {
                vendor.calm();
            }
        }
        // Whatever was begun is heard to its end, as long as that takes; but something has to be heard.
        while self.ending.is_some() && !self.checks.ended && !self.is_settled() {
            let since = self.carrier.last_sound.max(self.lively_until);
            // An agent that does not listen may go on for long about a turn that failed; it has an end, too.
            let live = self.checks.live();
            assert!(live.is_empty() || self.now.since(since) < AFTERMATH, "turns that never end: {live:?}");
            self.run_to(self.now + Duration::from_secs(1));
        }
        if let Some(ending) = self.ending.take()
            && !self.checks.ended
        {
            self.step(ending);
        }
        self.run_to(self.now + Duration::from_secs(4));
        assert!(self.checks.ended && self.session.is_over(), "the call does not end");
        self.accounts();
    }

    fn is_settled(&self) -> bool {
        self.checks.live().is_empty() && self.agent.next_at().is_none()
    }

    /// What must come out even at the end.
    fn accounts(&self) {
        let stats = self.session.stats();
        let settled = stats.marks_played + stats.marks_flushed + stats.marks_lapsed + stats.marks_disbelieved;
        assert_eq!(settled, self.checks.marks(), "each mark ends in one way: {stats:?}");
        let sent: u64 = stats.frames_out - stats.frames_withdrawn;
        assert_eq!(sent, self.session.digest().frames, "{stats:?}");
        for link in &self.links {
            let Voice::Vendor(vendor) = &link.voice else { continue };
            let many = vendor.model.dials.windows(10).find(|dials| dials[9].since(dials[0]) < Duration::from_secs(4));
            assert!(many.is_none(), "dialled like mad: {many:?}");
        }
    }

    fn run_to(&mut self, until: CallTime) {
        while let Some(next) = self.next_at().filter(|next| *next <= until) {
            self.happened += 1;
            assert!(self.happened < STEPS_MAX, "the call does not move on");
            self.now = self.now.max(next);
            self.happen();
        }
        self.now = self.now.max(until);
    }

    fn wake_at(&self) -> Option<CallTime> {
        self.session.due().map(|at| at.max(self.asleep_until))
    }

    fn next_at(&self) -> Option<CallTime> {
        let voices = self.links.iter().filter_map(|link| link.voice.next_at());
        let woken = (!self.slept.is_empty()).then_some(self.asleep_until);
        let parcel = self.parcels.first_key_value().map(|((at, _), _)| *at);
        let step = self.steps.front().map(|(at, _)| *at);
        let frame = (!self.hung_up).then_some(self.next_frame);
        let others = [self.wake_at(), woken, parcel, step, frame, self.carrier.next_at(), self.agent.next_at()];
        others.into_iter().flatten().chain(voices).chain(self.checks.next_claim()).min()
    }

    /// Lets one thing happen that is due now.
    fn happen(&mut self) {
        let now = self.now;
        self.carrier.play(now, &mut self.dice);
        if self.asleep_until <= now
            && let Some(what) = self.slept.pop_front()
        {
            return self.take(what);
        }
        if self.wake_at().is_some_and(|at| at <= now) {
            return self.take(What::Wake);
        }
        if let Some(echo) = self.carrier.take_echo(now) {
            return self.post_from_carrier(Body::Text(echo));
        }
        if let Some(((at, _), _)) = self.parcels.first_key_value()
            && *at <= now
            && let Some((_, parcel)) = self.parcels.pop_first()
        {
            return self.arrive(parcel);
        }
        for voice in 0..self.links.len() {
            if self.voice_speaks(voice) {
                return;
            }
        }
        if self.steps.front().is_some_and(|(at, _)| *at <= now)
            && let Some((_, step)) = self.steps.pop_front()
        {
            return self.step(step);
        }
        if let Some(event) = self.agent.take(now, &mut self.dice) {
            return self.agent_wants(event);
        }
        if self.next_frame <= now && !self.hung_up {
            return self.caller_frame();
        }
        let (carrier, links, whose, checks) = (&self.carrier, &self.links, &self.whose, &mut self.checks);
        let margins = (checks.late_ms(), checks.early_ms());
        checks.judge(now, |turn| spoken(carrier, links, whose, margins, turn));
        checks.silence(now, carrier);
    }

    pub(crate) fn clears(&self) -> u64 {
        self.carrier.clears
    }

    pub(crate) fn outcome(&self) -> String {
        self.outcomes.join("\n  ")
    }

    pub(crate) fn session(&self) -> &Session {
        &self.session
    }
}

impl Voice {
    fn drop_link(&mut self) {
        match self {
            Voice::Vendor(vendor) => vendor.drop_link(),
            Voice::Local(local) => local.drop_link(),
            Voice::Player(player) => player.drop_link(),
            Voice::Phrases(phrases) => phrases.drop_link(),
        }
    }

    fn next_at(&self) -> Option<CallTime> {
        match self {
            Voice::Vendor(vendor) => vendor.next_at(),
            Voice::Local(local) => local.next_at(),
            Voice::Player(player) => player.next_at(),
            Voice::Phrases(phrases) => phrases.next_at(),
        }
    }

    /// Milliseconds of speech that were made of a context.
    fn made_ms(&self, index: usize) -> u32 {
        match self {
            Voice::Vendor(vendor) => vendor.model.contexts[index].made_ms,
            Voice::Local(local) => local.contexts[index].made_ms,
            Voice::Player(player) => player.contexts[index].made_ms,
            Voice::Phrases(phrases) => phrases.voice.contexts[index].made_ms,
        }
    }

    /// Number and turn of the newest context, and how many there are.
    fn newest(&self) -> Option<(u16, TurnId, usize)> {
        match self {
            Voice::Vendor(vendor) => {
                vendor.model.contexts.last().map(|last| (last.number, turn_of(&last.name), vendor.model.contexts.len()))
            }
            Voice::Local(local) => local.contexts.last().map(|last| (last.number, last.id.turn, local.contexts.len())),
            Voice::Player(player) => {
                player.contexts.last().map(|last| (last.number, last.id.turn, player.contexts.len()))
            }
            Voice::Phrases(Phrases { voice, .. }) => {
                voice.contexts.last().map(|last| (last.number, last.id.turn, voice.contexts.len()))
            }
        }
    }
}

fn turn_of(name: &str) -> TurnId {
    let turn = name.rsplit_once('-').and_then(|(_, id)| id.split_once('.')).and_then(|(turn, _)| turn.parse().ok());
    TurnId(turn.unwrap_or_else(|| panic!("{name} names no turn")))
}

/// What the caller heard of a turn, in letters; `margins` are the milliseconds by which a word may be early or late.
fn spoken(carrier: &Twilio, links: &[Link], whose: &BTreeMap<u16, Whose>, margins: (u32, u32), turn: TurnId) -> Spoken {
    let mut spoken = Spoken::default();
    for (number, whose) in whose.iter().filter(|(_, whose)| whose.turn == turn) {
        let words = match &links[whose.voice].voice {
            Voice::Vendor(vendor) => {
                let context = &vendor.model.contexts[whose.index];
                spoken.faulty |= context.faulty;
                spoken.lied |= context.lied;
                &context.words
            }
            // The fallback line is not the agent's text, and a recording has none.
            Voice::Local(_) if matches!(links.first(), Some(Link { voice: Voice::Vendor(_), .. })) => continue,
            Voice::Player(_) => continue,
            Voice::Phrases(phrases) => &phrases.voice.contexts[whose.index].words,
            Voice::Local(local) => &local.contexts[whose.index].words,
        };
        let played = carrier.played_ms(*number);
        let letters = |limit: u32| -> usize {
            let heard = words.iter().filter(|(.., end)| *end <= limit);
            heard.map(|(word, ..)| word.chars().filter(|c| c.is_alphanumeric()).count()).sum()
        };
        if played > 0 {
            spoken.letters_max += letters(played + margins.0);
            spoken.letters_min += letters(played.saturating_sub(margins.1));
        }
    }
    spoken
}
