//! What must hold between the keys of `[hearing]`.

use std::time::Duration;

use super::{Given, is_host_of, is_plain_over_network};
use crate::config::hearing::{HearingProvider, InkEndpoint, TurnEnd};
use crate::config::problem::{Fault, Problem};
use crate::config::secret::Secret;
use crate::config::settings::Config;

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
