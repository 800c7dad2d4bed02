//! Which texts are spoken before they are needed: every line that the configuration knows will be said.

use std::sync::Arc;

use crate::agent::llm::settings::{self as llm, Greeting};
use crate::agent::script::Script;
use crate::call::event::{AgentEvent, Delivery};
use crate::call::phrases::Phrase;
use crate::call::settings::Settings as CallSettings;
use crate::config::Config;
use crate::dialect::AgentDialect as _;
use crate::dialect::relay::Relay;
use crate::driver::{Meter, Phrases};
use crate::server::{AgentSettings, RelayApp};

const MIB: usize = 1024 * 1024;

/// Something that will be said, and how.
type Line = (String, Delivery);

/// The phrases of a call that `config` describes, those that callers wait for first. None if there is no room for any.
pub(super) fn phrases(config: &Config, call: &CallSettings, agent: &AgentSettings) -> Vec<Phrase> {
    if config.speech.phrase_cache_mib == 0 {
        return Vec::new();
    }
    let Some(first) = call.voices.first() else { return Vec::new() };
    let own = match agent {
        AgentSettings::Script(script) => of_script(script),
        AgentSettings::Llm(_) => of_model(&super::llm(&config.agent.llm), call),
        AgentSettings::Relay(app) => of_app(app, call),
        AgentSettings::Api => Vec::new(),
    };
    let opening = plain([call.conversation.announcement.clone()]);
    let lines = opening.chain(own).chain(plain(of_lifetime(call))).chain(plain(config.speech.phrases.iter().cloned()));
    let phrase = |(line, delivery): Line| Phrase::of_line(&line, call.text, first.buffering, 0, delivery);
    let mut phrases: Vec<Phrase> = Vec::new();
    for phrase in lines.filter_map(phrase).chain(apology(call)) {
        if !phrases.contains(&phrase) {
            phrases.push(phrase);
        }
    }
    phrases
}

/// Where they are kept.
pub(super) fn store(config: &Config, call: &CallSettings, meter: &Arc<Meter>) -> Phrases {
    let bytes_max = config.speech.phrase_cache_mib as usize * MIB;
    Phrases::new(call.phrases.clone(), call.voices.clone(), bytes_max, meter.clone())
}

fn of_script(script: &Script) -> Vec<Line> {
    let greeting = std::iter::once(&script.greeting);
    plain(greeting.chain(&script.lines).chain(script.digits.values()).cloned()).collect()
}

fn of_model(settings: &llm::Settings, call: &CallSettings) -> Vec<Line> {
    let greeting = match &settings.greeting {
        Greeting::Line(line) => Some(line),
        Greeting::Nothing | Greeting::Model => None,
    };
    let lines = &settings.lines;
    let fillers = settings.tools.iter().map(|tool| &tool.filler);
    // The last one is for an agent that is lost.
    let ours = [&lines.filler, &lines.fallback, &lines.cut, &call.fallback_line];
    plain(greeting.into_iter().chain(fillers).chain(ours).cloned()).collect()
}

fn of_app(app: &RelayApp, call: &CallSettings) -> Vec<Line> {
    // What a session begins with is the same in each.
    let said =
        if let AgentEvent::Up { greeting } = Relay::new(app.settings.clone()).connected() { greeting } else { None };
    let greeting = said.map(|say| (say.text, say.delivery.as_deref().cloned().unwrap_or_default()));
    greeting.into_iter().chain(plain([call.fallback_line.clone()])).collect()
}

/// What is said when nobody speaks, or when time is up.
fn of_lifetime(call: &CallSettings) -> Vec<String> {
    let lifetime = &call.conversation.lifetime;
    let asked = lifetime.idle.map(|_| lifetime.idle_lines.clone()).unwrap_or_default();
    let goodbye = (lifetime.idle.is_some() || lifetime.longest.is_some()).then(|| lifetime.goodbye.clone());
    asked.into_iter().chain(goodbye).chain([lifetime.leaving.clone()]).collect()
}

/// What the last voice says when nobody of the chain can speak: then many calls may want it at once.
fn apology(call: &CallSettings) -> Option<Phrase> {
    let last = call.voices.len().checked_sub(1).filter(|last| *last > 0)?;
    let voice = call.voices.get(last)?;
    Phrase::of_plain_line(&call.fallback_line, call.text, voice.buffering, last)
}

fn plain(lines: impl IntoIterator<Item = String>) -> impl Iterator<Item = Line> {
    lines.into_iter().map(|line| (line, Delivery::default()))
}

#[cfg(test)]
mod tests {
    use super::super::settings;
    use super::*;
    use crate::config::{Input, load};

    /// Voice and text of every phrase.
    fn built(toml: &str) -> Vec<(usize, String, Delivery)> {
        let quiet = if toml.contains("drain_line") { "" } else { "server.drain_line = \"\"\n" };
        let toml = format!("speech.cartesia.url = \"ws://127.0.0.1:9/tts\"\n{quiet}{toml}");
        let file = Some(("test.toml".to_owned(), toml));
        let loaded = load(&Input { file, ..Input::default() }).map_err(|problems| problems.to_string()).unwrap();
        let call = settings(&loaded.config).unwrap().call;
        call.phrases.into_iter().map(|phrase| (phrase.voice, phrase.text, phrase.delivery)).collect()
    }

    fn texts(toml: &str) -> Vec<(usize, String)> {
        built(toml).into_iter().map(|(voice, text, _)| (voice, text)).collect()
    }

    fn expected(lines: &[(usize, &str)]) -> Vec<(usize, String)> {
        lines.iter().map(|(voice, text)| (*voice, (*text).to_owned())).collect()
    }

    #[test]
    fn a_script_is_spoken_beforehand_as_voices_are_given_it() {
        let script = "speech.fallback_line = \"Sorry\"\n[agent.script]\ngreeting = \"**Hello** there\"\nlines = [\"Yes?\"]\n\
            digits = { 1 = \"One.\", 2 = \"Yes?\" }\n";
        let chain = "speech.chain = [\"cartesia\"]\n";
        assert_eq!(
            texts(&format!("{chain}{script}")),
            expected(&[(0, "Hello there."), (0, "Yes?"), (0, "One."), (1, "Sorry.")])
        );
        // The only voice has nobody to apologise for it, and a vendor that collects text is given it as it is.
        assert_eq!(texts(script), expected(&[(0, "Hello there."), (0, "Yes?"), (0, "One.")]));
        let managed = "speech.cartesia.buffering = { managed_ms = 3000 }\n";
        assert_eq!(texts(&format!("{chain}{managed}{script}"))[0], (0, "Hello there".to_owned()));
        assert_eq!(texts(&format!("speech.phrase_cache_mib = 0\n{chain}{script}")), expected(&[]));
    }

    #[test]
    fn lines_that_are_never_said_are_not_spoken_and_those_of_the_operator_are() {
        let toml = "agent.kind = \"api\"\ncall.goodbye = \"Bye.\"\ncall.idle_lines = [\"Hello?\"]\nspeech.phrases = [\"One moment.\"]\n";
        assert_eq!(texts(toml), expected(&[(0, "One moment.")]));
        assert_eq!(texts(&format!("{toml}call.max_s = 60\n")), expected(&[(0, "Bye."), (0, "One moment.")]));
        let idle = texts(&format!("{toml}call.idle_s = 60\n"));
        assert_eq!(idle, expected(&[(0, "Hello?"), (0, "Bye."), (0, "One moment.")]));
        // Every live call wants it at the same moment.
        let stops = "agent.kind = \"api\"\nserver.drain_line = \"We close.\"\n";
        assert_eq!(texts(stops), expected(&[(0, "We close.")]));
        let long = format!("agent.kind = \"api\"\nspeech.phrases = [\"{}\", \"...\"]\n", "word ".repeat(201));
        assert_eq!(texts(&long), expected(&[]));
    }

    #[test]
    fn what_recorded_calls_begin_with_is_spoken_before_all_else() {
        let directory = std::env::temp_dir().join(format!("trunkline-phrases-{}", std::process::id()));
        let line =
            "agent.kind = \"api\"\nrecording.announcement = \" This call is recorded. \"\nspeech.phrases = [\"Hi.\"]\n";
        let recorded = format!("{line}recording.dir = {directory:?}\n");
        assert_eq!(texts(&recorded), expected(&[(0, "This call is recorded."), (0, "Hi.")]));
        assert_eq!(texts(line), expected(&[(0, "Hi.")]));
        std::fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn a_models_own_lines_and_an_apps_greeting_are_spoken_as_they_will_be() {
        let model = "agent.kind = \"llm\"\nhearing.provider = \"cartesia\"\nhearing.cartesia.api_key = \"k\"\nspeech.fallback_line = \"Oh.\"\n\
            [agent.llm]\nurl = \"http://127.0.0.1:9/v1\"\nmodel = \"m\"\ngreeting = \"Hi.\"\nfiller = \"Wait.\"\n\
            fallback_line = \"What?\"\ncut_line = \"Cut.\"\n";
        assert_eq!(texts(model), expected(&[(0, "Hi."), (0, "Wait."), (0, "What?"), (0, "Cut."), (0, "Oh.")]));
        let app = "agent.kind = \"relay\"\nspeech.fallback_line = \"Oh.\"\n[agent.relay]\nurl = \"ws://127.0.0.1:9/relay\"\n\
            welcome_greeting = \"Hej.\"\nvoice = \"v\"\ntts_language = \"sv-SE\"\n";
        let greeting = Delivery { voice: Some("v".to_owned()), language: Some("sv".to_owned()), ..Delivery::default() };
        assert_eq!(built(app), [(0, "Hej.".to_owned(), greeting), (0, "Oh.".to_owned(), Delivery::default())]);
    }
}
