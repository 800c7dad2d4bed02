//! What must hold between the keys of `[hearing]`.

use std::time::Duration;

use super::{Given, is_host_of, is_plain_over_network};
use crate::config::hearing::{HearingProvider, InkEndpoint, TurnEnd};
use crate::config::problem::{Fault, Problem};
use crate::config::settings::Config;
use crate::secret::Secret;

/// What the vendor puts in place of a threshold of turns that is absent.
const INK_START: f64 = 0.8;
const INK_EAGER_END: f64 = 0.4;
const INK_END: f64 = 0.2;
/// The vendor's limits on words to listen for.
const INK_KEYTERMS_MAX: usize = 100;
const INK_KEYTERM_CHARS_MAX: usize = 1_200;
/// What the vendor puts in place of the confidence that ends a turn.
const FLUX_END: f64 = 0.7;
/// Longest session that the vendor documents.
const GRADIUM_SESSION: Duration = Duration::from_secs(300);

/// The provider in use: its section, its domain, its URL and key.
struct Used<'a> {
    provider: HearingProvider,
    domain: &'static str,
    alias: &'static str,
    url: &'a str,
    api_key: Option<&'a Secret>,
}

fn used(config: &Config) -> Option<Used<'_>> {
    let hearing = &config.hearing;
    let provider = hearing.provider;
    let (domain, alias, url, api_key) = match provider {
        HearingProvider::None => return None,
        HearingProvider::Cartesia => {
            ("cartesia.ai", "CARTESIA_API_KEY", hearing.cartesia.url(), &hearing.cartesia.api_key)
        }
        HearingProvider::Deepgram => {
            ("deepgram.com", "DEEPGRAM_API_KEY", hearing.deepgram.url.as_str(), &hearing.deepgram.api_key)
        }
        HearingProvider::DeepgramFlux => {
            let flux = &hearing.deepgram_flux;
            ("deepgram.com", "DEEPGRAM_API_KEY", flux.url.as_str(), &flux.api_key)
        }
        HearingProvider::Gradium => {
            ("gradium.ai", "GRADIUM_API_KEY", hearing.gradium.url.as_str(), &hearing.gradium.api_key)
        }
    };
    Some(Used { provider, domain, alias, url, api_key: api_key.as_ref() })
}

/// Everything that stops a start.
pub(super) fn problems(config: &Config, given: &Given<'_>) -> Vec<Problem> {
    let mut problems = Vec::new();
    problems.extend(key(config, given));
    problems.extend(turn_end(config, given));
    problems.extend(eager(config, given));
    problems.extend(ink_order(config, given));
    problems.extend(ink_keyterms(config, given));
    problems.extend(flux_order(config, given));
    problems
}

fn key(config: &Config, given: &Given<'_>) -> Option<Problem> {
    let Used { provider, domain, alias, url, api_key } = used(config)?;
    let path = format!("hearing.{}.api_key", provider.as_str());
    let is_unclear = ["hearing.provider", &path, &format!("hearing.{}.url", provider.as_str())]
        .iter()
        .any(|key| given.is_faulty(key));
    if is_unclear || api_key.is_some() || !is_host_of(url, domain) {
        return None;
    }
    let source = given.source("hearing.provider");
    let fault = format!("is missing, although hearing.provider is {:?} ({source})", provider.as_str());
    Some(Fault::new(fault, format!("set it, for example by {alias}")).at("configuration", &path))
}

fn turn_end(config: &Config, given: &Given<'_>) -> Option<Problem> {
    let hearing = &config.hearing;
    let is_wrong = hearing.provider == HearingProvider::Cartesia
        && hearing.cartesia.endpoint == InkEndpoint::Manual
        && hearing.turn_end == Some(TurnEnd::Vendor);
    let key = "hearing.turn_end";
    let fault = "is \"vendor\", but hearing.cartesia.endpoint is \"manual\", where the vendor knows no turns";
    let fix = "write \"silence\", or choose the endpoint \"turns\"";
    is_wrong.then(|| Fault::new(fault, fix).at(given.source(key), key))
}

fn eager(config: &Config, given: &Given<'_>) -> Option<Problem> {
    let (eager, silence) = (config.hearing.eager, config.barge_in.silence);
    let key = "hearing.eager_ms";
    let fault = format!(
        "is {}, but speech is over after barge_in.silence_ms, which is {}",
        eager.as_millis(),
        silence.as_millis()
    );
    let is_wrong = !eager.is_zero() && eager >= silence;
    is_wrong.then(|| Fault::new(fault, "write less, or 0 to prepare nothing").at(given.source(key), key))
}

fn ink_order(config: &Config, given: &Given<'_>) -> Option<Problem> {
    let ink = &config.hearing.cartesia;
    let start = ink.start_threshold.unwrap_or(INK_START);
    let eager = ink.eager_end_threshold.unwrap_or(INK_EAGER_END);
    let end = ink.end_threshold.unwrap_or(INK_END);
    if start > eager && eager > end {
        return None;
    }
    // Named by one that was written: the defaults are in order.
    let keys = ["eager_end_threshold", "end_threshold", "start_threshold"];
    let is_set = [ink.eager_end_threshold, ink.end_threshold, ink.start_threshold].map(|value| value.is_some());
    let name = keys.into_iter().zip(is_set).find(|(_, is_set)| *is_set).map_or("eager_end_threshold", |(key, _)| key);
    let key = format!("hearing.cartesia.{name}");
    let fault = format!(
        "does not fit: start_threshold ({start}) must be above eager_end_threshold ({eager}), and that above \
         end_threshold ({end})"
    );
    Some(Fault::new(fault, "write the three in this order").at(given.source(&key), &key))
}

fn ink_keyterms(config: &Config, given: &Given<'_>) -> Option<Problem> {
    let terms = &config.hearing.cartesia.keyterms;
    let chars: usize = terms.iter().map(|term| term.chars().count()).sum();
    let key = "hearing.cartesia.keyterms";
    let fault = format!("has {} texts of {chars} characters in all", terms.len());
    let fix = format!("write at most {INK_KEYTERMS_MAX} texts and {INK_KEYTERM_CHARS_MAX} characters");
    let is_wrong = terms.len() > INK_KEYTERMS_MAX || chars > INK_KEYTERM_CHARS_MAX;
    is_wrong.then(|| Fault::new(fault, fix).at(given.source(key), key))
}

fn flux_order(config: &Config, given: &Given<'_>) -> Option<Problem> {
    let flux = &config.hearing.deepgram_flux;
    let end = flux.end_threshold.unwrap_or(FLUX_END);
    let eager = flux.eager_end_threshold.filter(|eager| *eager > end)?;
    let key = "hearing.deepgram_flux.eager_end_threshold";
    let fault = format!("is {eager}, but the turn is over at end_threshold, which is {end}");
    Some(Fault::new(fault, "write less, or leave it out").at(given.source(key), key))
}

/// Everything that works but should be looked at: key, fault and fix.
pub(super) fn warnings(config: &Config) -> Vec<(String, &'static str, &'static str)> {
    let mut warnings = Vec::new();
    if let Some(Used { provider, url, .. }) = used(config) {
        if is_plain_over_network(url) {
            let key = format!("hearing.{}.url", provider.as_str());
            warnings.push((key, "sends key and speech unencrypted over a network", "use wss"));
        }
        let is_long = config.hearing.session.is_some_and(|session| session >= GRADIUM_SESSION);
        if provider == HearingProvider::Gradium && is_long {
            let fault = "is longer than the 300 seconds after which the vendor may end a session";
            warnings.push(("hearing.session_s".to_owned(), fault, "write less, such as 270"));
        }
    }
    warnings
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use crate::config::{Input, Loaded, load};

    fn input(toml: &str, variables: &[(&str, &str)]) -> Input {
        let environment = variables.iter().map(|(name, value)| (OsString::from(name), OsString::from(value))).collect();
        Input { file: Some(("settings.toml".to_owned(), toml.to_owned())), environment, ..Input::default() }
    }

    fn bad(toml: &str) -> Vec<String> {
        load(&input(toml, &[])).expect_err("mistakes").0.iter().map(ToString::to_string).collect()
    }

    fn good(toml: &str, variables: &[(&str, &str)]) -> Loaded {
        load(&input(toml, variables)).unwrap_or_else(|problems| panic!("{problems}"))
    }

    #[test]
    fn a_vendor_wants_its_key_and_other_servers_none() {
        for (provider, variable) in [
            ("cartesia", "CARTESIA_API_KEY"),
            ("deepgram", "DEEPGRAM_API_KEY"),
            ("deepgram_flux", "DEEPGRAM_API_KEY"),
            ("gradium", "GRADIUM_API_KEY"),
        ] {
            let toml = format!("[hearing]\nprovider = {provider:?}\n");
            let line = format!(
                "configuration: hearing.{provider}.api_key is missing, although hearing.provider is {provider:?} \
                 (settings.toml line 2); set it, for example by {variable}"
            );
            assert_eq!(bad(&toml), [line]);
            assert_eq!(good(&toml, &[(variable, "k")]).warnings, []);
            let own = |url: &str| format!("{toml}[hearing.{provider}]\nurl = {url:?}\n");
            assert_eq!(good(&own("ws://127.0.0.1:9/x"), &[]).warnings, []);
            let warnings = good(&own("ws://stt.example.com/x"), &[]).warnings;
            let keys: Vec<&str> = warnings.iter().map(|warning| warning.key.as_str()).collect();
            assert_eq!(keys, [format!("hearing.{provider}.url")]);
        }
    }

    #[test]
    fn what_contradicts_itself_is_told_at_once() {
        let toml = "[hearing]\nprovider = \"cartesia\"\nturn_end = \"vendor\"\neager_ms = 700\n\
            [hearing.cartesia]\nendpoint = \"manual\"\nurl = \"wss://stt.example.com/x\"\nend_threshold = 0.4\n\
            [hearing.deepgram_flux]\neager_end_threshold = 0.8\n";
        let expected = [
            "settings.toml line 3: hearing.turn_end is \"vendor\", but hearing.cartesia.endpoint is \"manual\", where the \
             vendor knows no turns; write \"silence\", or choose the endpoint \"turns\"",
            "settings.toml line 4: hearing.eager_ms is 700, but speech is over after barge_in.silence_ms, which is 700; \
             write less, or 0 to prepare nothing",
            "settings.toml line 8: hearing.cartesia.end_threshold does not fit: start_threshold (0.8) must be above \
             eager_end_threshold (0.4), and that above end_threshold (0.4); write the three in this order",
            "settings.toml line 10: hearing.deepgram_flux.eager_end_threshold is 0.8, but the turn is over at \
             end_threshold, which is 0.7; write less, or leave it out",
        ];
        assert_eq!(bad(toml), expected);
    }

    #[test]
    fn limits_of_vendors_are_kept() {
        let terms = |count: usize, term: &str| format!("[hearing.cartesia]\nkeyterms = {:?}\n", vec![term; count]);
        good(&terms(100, "twelve chars"), &[]);
        assert_eq!(bad(&terms(101, "x")).len(), 1);
        assert_eq!(bad(&terms(100, "thirteen char")).len(), 1);
        let lines = bad("[hearing.cartesia]\nend_threshold = 0.01\n[hearing.gradium]\ndelay_frames = 9\n");
        assert!(lines[0].ends_with("write a number from 0.05 to 0.5"), "{lines:?}");
        assert!(lines[1].contains("hearing.gradium.delay_frames is 9; write one of 7, 8, 10"), "{lines:?}");
        let session = |seconds: u32| {
            let toml = format!("[hearing]\nprovider = \"gradium\"\nsession_s = {seconds}\n");
            good(&toml, &[("GRADIUM_API_KEY", "k")]).warnings.len()
        };
        assert_eq!((session(299), session(300)), (0, 1));
    }
}
