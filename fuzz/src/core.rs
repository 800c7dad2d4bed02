//! The core, given any events at any times, and the promises about it that are cheap to check. `tests/properties` checks all of
//! them, on fewer calls.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use arbitrary::{Result, Unstructured};
use bytes::Bytes;
use trunkline::audio::{Encoding, MediaFormat, vad};
use trunkline::call::Call;
use trunkline::call::action::{Action, AgentReport, CarrierCommand, TtsCommand};
use trunkline::call::event::{
    AgentEvent, CarrierEvent, Clip, Delivery, Event, Fault, FaultKind, HearingEvent, Play, Say, SpeechEvent, Start,
    TimedWord, TtsEvent, TurnSign, Words,
};
use trunkline::call::settings::{
    Buffering, Cancel, Conversation, Hearing, Interruptible, Joins, Lifetime, Limits, OnAgentLost, OnFailure, Playout,
    Settings, Text, TurnEnd, Voice,
};
use trunkline::ids::{CallSid, CallTime, ContextId, MarkId, StreamSid, TurnId};

/// Wake-ups between two events at most; a call that wants more is left alone until the next one.
const WAKES_MAX: usize = 60;
/// Turns that may be live at once.
const TURNS_MAX: usize = 64;
/// What agents write, and what makes trouble in it.
const TEXTS: [&str; 24] = [
    "",
    " ",
    "Hello",
    "there. ",
    "How are you? ",
    "w1 ",
    "w2, ",
    "**bold",
    "** ",
    "`code`",
    "```\nlet x;\n```",
    "[a link](https://a.b/c) ",
    "https://example.com/a?b=c ",
    "+1 555 0100 ",
    "3.14 ",
    "1. ",
    "\n- ",
    "# ",
    "\u{1F600}",
    "\u{200D}",
    "a\u{301} ",
    "& ",
    "\u{0}",
    "…!?",
];

/// `TRUNKLINE_TELL=1` prints what happens in a call, to make a unit test of it.
static TELL: LazyLock<bool> = LazyLock::new(|| std::env::var_os("TRUNKLINE_TELL").is_some());

/// One call, from its settings to its end.
pub fn core(input: &[u8]) {
    // Input that is used up is zeros: the call ends.
    let _ = play(&mut Unstructured::new(input));
}

fn play(u: &mut Unstructured<'_>) -> Result<()> {
    let mut stage = Stage::new(settings(u)?);
    if u.ratio(9, 10)? {
        stage.handle(Event::Carrier(CarrierEvent::Started(Box::new(start(u)?))));
    }
    while !u.is_empty() && !stage.call.is_over() {
        let gap = gap(u)?;
        stage.pass(gap);
        let event = stage.event(u)?;
        stage.handle(event);
    }
    stage.handle(Event::Carrier(CarrierEvent::Stopped));
    assert!(stage.call.is_over() && stage.call.poll_timeout().is_none());
    Ok(())
}

struct Stage {
    call: Call,
    lead: Duration,
    now: CallTime,
    format: Option<MediaFormat>,
    contexts: Vec<ContextId>,
    marks: Vec<MarkId>,
    live: BTreeSet<TurnId>,
    given: BTreeMap<ContextId, u64>,
}

impl Stage {
    fn new(settings: Settings) -> Self {
        Stage {
            lead: settings.playout.lead,
            call: Call::new(settings),
            now: CallTime::ZERO,
            format: None,
            contexts: Vec::new(),
            marks: Vec::new(),
            live: BTreeSet::new(),
            given: BTreeMap::new(),
        }
    }

    /// Lets time pass, and wakes the call when it wants to be woken.
    fn pass(&mut self, gap: Duration) {
        let until = self.now + gap;
        for _ in 0..WAKES_MAX {
            let Some((at, _)) = self.call.poll_timeout().filter(|(at, _)| *at <= until) else { break };
            self.now = at;
            self.handle(Event::Wake);
        }
        self.now = until;
    }

    fn handle(&mut self, event: Event) {
        let was_over = self.call.is_over();
        if let Event::Carrier(CarrierEvent::Started(start)) = &event
            && self.format.is_none()
            && start.inbound.is_sound()
            && start.outbound.is_none_or(MediaFormat::is_sound)
        {
            self.format = start.outbound;
        }
        if *TELL {
            eprintln!("{} {event:?}", self.now);
        }
        self.call.handle(self.now, event);
        let (mut frames, mut ended) = (0, false);
        while let Some(action) = self.call.poll_action() {
            if *TELL {
                eprintln!("    {action:?}");
            }
            assert!(!was_over && !ended, "{action:?} after the end");
            match action {
                Action::Carrier(CarrierCommand::Media { frame, .. }) => {
                    let format = self.format.expect("a stream that takes audio");
                    frames += 1;
                    assert_eq!(frame.len() % format.frame_bytes(), 0, "a frame of {} bytes", frame.len());
                    assert!(!frame.is_empty());
                }
                Action::Carrier(CarrierCommand::Mark(mark)) => {
                    assert!(self.marks.last().is_none_or(|last| *last < mark), "{mark:?} comes twice");
                    self.marks.push(mark);
                }
                Action::Carrier(CarrierCommand::Clear { .. }) => assert!(self.format.is_some()),
                Action::Tts(TtsCommand::Speak { on, .. } | TtsCommand::Play { on, .. }) => {
                    if !self.contexts.contains(&on.context) {
                        self.contexts.push(on.context);
                    }
                }
                Action::Agent(AgentReport::TurnStarted { turn }) => drop(self.live.insert(turn)),
                Action::Agent(AgentReport::TurnOver { turn, .. } | AgentReport::Interrupted { turn, .. }) => {
                    self.live.remove(&turn);
                }
                Action::End(_) => ended = true,
                Action::Tts(_) | Action::Hearing(_) | Action::Agent(_) => {}
            }
        }
        if let Some(format) = self.format {
            let most = self.lead.as_millis() / u128::from(format.frame_ms) + 9;
            assert!(frames <= most, "{frames} frames at once");
        }
        assert!(self.live.len() <= TURNS_MAX, "{} turns are live", self.live.len());
        if let Some((at, timer)) = self.call.poll_timeout() {
            assert!(at > self.now, "{timer:?} at {at} is not after {}", self.now);
        }
    }

    /// The newest contexts first, and one that never was.
    fn context(&self, u: &mut Unstructured<'_>) -> Result<ContextId> {
        let at = u.int_in_range(0..=6_usize)?;
        let newest = self.contexts.len().checked_sub(at + 1).and_then(|at| self.contexts.get(at));
        Ok(newest.copied().unwrap_or(ContextId { turn: TurnId(u.int_in_range(0..=9)?), serial: 9 }))
    }

    fn event(&mut self, u: &mut Unstructured<'_>) -> Result<Event> {
        Ok(match u.int_in_range(0..=33_u8)? {
            0..=5 => Event::Agent(AgentEvent::Say(say(u)?)),
            6 => Event::Agent(AgentEvent::Play(Play {
                turn: turn(u)?,
                clip: if u.arbitrary()? {
                    Clip::Recording("https://a.b/c".to_owned())
                } else {
                    Clip::Tones("1w#".to_owned())
                },
                times: u.int_in_range(1..=1_000)?,
                interruptible: policy(u)?,
                preemptible: u.arbitrary()?,
            })),
            7 => Event::Agent(match u.int_in_range(0..=7_u8)? {
                0 => AgentEvent::Clear,
                1 => AgentEvent::Language { speech: language(u)?, hearing: language(u)? },
                2 => AgentEvent::End { handoff: language(u)? },
                3 => AgentEvent::HangUp,
                4 => AgentEvent::Up { greeting: if u.arbitrary()? { Some(say(u)?) } else { None } },
                5 => AgentEvent::Lost(fault(u)?),
                6 => AgentEvent::Malformed("nonsense".to_owned()),
                _ => AgentEvent::Ignored,
            }),
            8..=9 => Event::Tts(TtsEvent::Up { voice: u.int_in_range(0..=5)? }),
            10 => Event::Tts(TtsEvent::Down { voice: u.int_in_range(0..=5)?, fault: fault(u)? }),
            11..=15 => self.audio(u)?,
            16 => {
                let context = self.context(u)?;
                Event::Tts(TtsEvent::Words { context, words: self.words(context, u)? })
            }
            17 => {
                let context = self.context(u)?;
                let words = self.words(context, u)?;
                Event::Tts(TtsEvent::TimedAudio { context, audio: bytes(u)?, words })
            }
            18 => Event::Tts(TtsEvent::Spoken { context: self.context(u)?, texts: u.int_in_range(0..=4)? }),
            19 => Event::Tts(TtsEvent::Granted { context: self.context(u)? }),
            20..=21 => Event::Tts(TtsEvent::Done { context: self.context(u)? }),
            22 => {
                let context = if u.arbitrary()? { Some(self.context(u)?) } else { None };
                Event::Tts(TtsEvent::Failed { context, fault: fault(u)? })
            }
            23 => Event::Tts(if u.arbitrary()? { TtsEvent::Garbage } else { TtsEvent::Ignored }),
            24..=26 => {
                let at = u.int_in_range(0..=5_usize)?;
                let mark = self.marks.len().checked_sub(at + 1).and_then(|at| self.marks.get(at)).copied();
                Event::Carrier(CarrierEvent::Mark(mark.unwrap_or(MarkId(u.arbitrary()?))))
            }
            27..=28 => Event::Carrier(CarrierEvent::Media(bytes(u)?)),
            29 => Event::Carrier(match u.int_in_range(0..=12_u8)? {
                0..=3 => CarrierEvent::Digit(*u.choose(&['1', '#', '*', 'A'])?),
                4..=6 => CarrierEvent::Ignored,
                7..=9 => CarrierEvent::Garbage,
                10 => CarrierEvent::Started(Box::new(start(u)?)),
                11 => CarrierEvent::Stopped,
                _ => CarrierEvent::Lost,
            }),
            30 => Event::Speech(*u.choose(&[
                SpeechEvent::Started,
                SpeechEvent::Paused,
                SpeechEvent::Resumed,
                SpeechEvent::Stopped,
            ])?),
            31..=32 => Event::Hearing { link: u.int_in_range(0..=4)?, event: hearing_event(u)? },
            _ => u.choose(&[Event::Wake, Event::Wake, Event::Drain, Event::Leave])?.clone(),
        })
    }

    fn audio(&mut self, u: &mut Unstructured<'_>) -> Result<Event> {
        let (context, audio) = (self.context(u)?, bytes(u)?);
        *self.given.entry(context).or_default() += audio.len() as u64 / 8;
        Ok(Event::Tts(TtsEvent::Audio { context, audio }))
    }

    /// Words somewhere near the audio that was given, or anywhere.
    fn words(&self, context: ContextId, u: &mut Unstructured<'_>) -> Result<Vec<TimedWord>> {
        let given = self.given.get(&context).copied().unwrap_or_default() * 1_000;
        (0..u.int_in_range(0..=4)?)
            .map(|_| {
                let start_us =
                    if u.ratio(1, 8)? { u.arbitrary()? } else { given + u64::from(u.arbitrary::<u16>()?) * 10 };
                let end_us = if u.ratio(1, 8)? {
                    u.arbitrary()?
                } else {
                    start_us.saturating_add(u64::from(u.arbitrary::<u16>()?) * 10)
                };
                Ok(TimedWord { text: (*u.choose(&TEXTS)?).to_owned(), start_us, end_us })
            })
            .collect()
    }
}

fn gap(u: &mut Unstructured<'_>) -> Result<Duration> {
    let scale = *u.choose(&[0, 1, 100, 100, 1_000, 1_000, 20_000, 100_000, 400_000])?;
    Ok(Duration::from_micros(scale * u64::from(u.arbitrary::<u8>()?)))
}

fn turn(u: &mut Unstructured<'_>) -> Result<TurnId> {
    Ok(TurnId(if u.ratio(1, 16)? { u.arbitrary()? } else { u.int_in_range(0..=20)? }))
}

fn say(u: &mut Unstructured<'_>) -> Result<Say> {
    let mut text = String::new();
    for _ in 0..u.int_in_range(0..=6_u8)? {
        text.push_str(u.choose(&TEXTS)?);
    }
    let delivery = if u.ratio(1, 8)? {
        Some(Arc::new(Delivery { voice: language(u)?, language: language(u)?, ..Delivery::default() }))
    } else {
        None
    };
    Ok(Say {
        turn: turn(u)?,
        text,
        last: u.arbitrary()?,
        flush: u.ratio(1, 4)?,
        interruptible: policy(u)?,
        delivery,
        preemptible: u.arbitrary()?,
    })
}

fn language(u: &mut Unstructured<'_>) -> Result<Option<String>> {
    Ok(u.choose(&[None, Some("en-US"), Some("sv"), Some("")])?.map(str::to_owned))
}

fn policy(u: &mut Unstructured<'_>) -> Result<Option<Interruptible>> {
    u.choose(&[
        None,
        None,
        Some(Interruptible::None),
        Some(Interruptible::Dtmf),
        Some(Interruptible::Speech),
        Some(Interruptible::Any),
    ])
    .copied()
}

fn fault(u: &mut Unstructured<'_>) -> Result<Fault> {
    let kind = *u.choose(&[FaultKind::Retryable, FaultKind::Busy, FaultKind::Idle, FaultKind::Fatal])?;
    Ok(Fault { kind, reason: "arbitrary".to_owned() })
}

fn bytes(u: &mut Unstructured<'_>) -> Result<Bytes> {
    let length = usize::from(*u.choose(&[0_u16, 1, 159, 160, 161, 320, 640, 1_600, 4_001, 9_600])?);
    Ok(Bytes::from(vec![u.arbitrary()?; length]))
}

fn hearing_event(u: &mut Unstructured<'_>) -> Result<HearingEvent> {
    Ok(match u.int_in_range(0..=9_u8)? {
        0 => HearingEvent::Up,
        1 => HearingEvent::Down(fault(u)?),
        2 => HearingEvent::Finalised,
        3 => HearingEvent::Failed(fault(u)?),
        4 => HearingEvent::Garbage,
        5 => HearingEvent::Ignored,
        _ => HearingEvent::Heard(Words {
            text: (*u.choose(&TEXTS)?).to_owned(),
            is_final: u.arbitrary()?,
            turn: *u.choose(&[
                None,
                Some(TurnSign::Started),
                Some(TurnSign::Probable),
                Some(TurnSign::Resumed),
                Some(TurnSign::Quiet),
                Some(TurnSign::Ended),
            ])?,
            language: language(u)?,
            finalised: u.arbitrary()?,
        }),
    })
}

fn format(u: &mut Unstructured<'_>) -> Result<MediaFormat> {
    if u.ratio(3, 4)? {
        return Ok(MediaFormat::TELEPHONE);
    }
    let encoding = *u.choose(&[Encoding::Mulaw, Encoding::Alaw, Encoding::PcmS16Le])?;
    let rate = *u.choose(&[0, 8_000, 11_025, 16_000, 22_050, 24_000, 44_100, 48_000, u32::MAX])?;
    Ok(MediaFormat { encoding, rate, frame_ms: *u.choose(&[0, 10, 20, 100, 200, u32::MAX])? })
}

fn start(u: &mut Unstructured<'_>) -> Result<Start> {
    let inbound = format(u)?;
    let outbound = if u.ratio(1, 10)? { None } else { Some(if u.ratio(3, 4)? { inbound } else { format(u)? }) };
    Ok(Start {
        stream: StreamSid::parse("MZ1").expect("a name"),
        call: CallSid::parse("CA1").expect("a name"),
        inbound,
        outbound,
        parameters: BTreeMap::new(),
    })
}

fn seconds(u: &mut Unstructured<'_>) -> Result<Option<Duration>> {
    Ok(if u.arbitrary()? { Some(Duration::from_secs(u64::from(u.int_in_range(1..=60_u8)?))) } else { None })
}

fn settings(u: &mut Unstructured<'_>) -> Result<Settings> {
    let voices = (0..u.int_in_range(1..=3_usize)?)
        .map(|_| {
            Ok(Voice {
                name: "voice".into(),
                encoding: *u.choose(&[Encoding::Mulaw, Encoding::PcmS16Le])?,
                rate: *u.choose(&[None, Some(8_000), Some(24_000), Some(44_100)])?,
                buffering: *u
                    .choose(&[Buffering::Gateway, Buffering::Vendor { max_delay: Duration::from_millis(300) }])?,
                context_idle: seconds(u)?,
                context_age: seconds(u)?,
                contexts: *u.choose(&[None, None, Some(1), Some(2), Some(5)])?,
                cancel: *u.choose(&[Cancel::Message, Cancel::Awaited, Cancel::Reconnect])?,
                shared_out: u.arbitrary()?,
            })
        })
        .collect::<Result<Vec<_>>>()?;
    let hearing = if u.arbitrary()? {
        Some(Hearing {
            name: "ears".into(),
            joins: *u.choose(&[Joins::Verbatim, Joins::Space])?,
            turn_end: *u.choose(&[TurnEnd::Silence, TurnEnd::Vendor])?,
            eager: u.arbitrary()?,
            partials: u.arbitrary()?,
            language: language(u)?,
            session: seconds(u)?,
            last_words: Duration::from_millis(100 + u64::from(u.arbitrary::<u8>()?) * 10),
            keep_alive: Duration::from_secs(4),
        })
    } else {
        None
    };
    Ok(Settings {
        chain: u.int_in_range(1..=voices.len())?,
        voices,
        fallback_line: "Sorry, one moment.".to_owned(),
        on_failure: *u.choose(&[OnFailure::Continue, OnFailure::Close])?,
        playout: Playout {
            lead: Duration::from_millis(*u.choose(&[20, 120, 1_000])?),
            prebuffer: Duration::from_millis(*u.choose(&[0, 60, 1_000])?),
            frames_per_write: u.int_in_range(1..=2)?,
        },
        interruptible: policy(u)?.unwrap_or(Interruptible::Any),
        detector: vad::Settings::default(),
        limits: match u.arbitrary()? {
            true => Limits::default(),
            false => Limits {
                unheard_high: Duration::from_millis(1_500),
                unheard_low: Duration::from_millis(700),
                ..Limits::default()
            },
        },
        text: *u.choose(&[Text::default(), Text::VERBATIM])?,
        seed: u.arbitrary()?,
        conversation: Conversation {
            hearing,
            reported_during_speech: policy(u)?.unwrap_or(Interruptible::None),
            lifetime: Lifetime {
                idle: seconds(u)?,
                idle_lines: vec!["Still there?".to_owned()],
                longest: seconds(u)?,
                goodbye: "Goodbye.".to_owned(),
                leaving: "We have to go.".to_owned(),
            },
            announcement: (*u.choose(&["", "This call is recorded."])?).to_owned(),
            on_agent_lost: *u.choose(&[OnAgentLost::Apologise, OnAgentLost::Close])?,
        },
        phrases: Vec::new(),
    })
}
