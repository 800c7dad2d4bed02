//! From a configuration to whoever writes down what callers say.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::GatewayError;
use crate::call::settings::{Hearing, Joins, TurnEnd};
use crate::config::{self, Config, HearingProvider, InkEndpoint, Secret};
use crate::dialect::hearing::{Access, Settings, deepgram, flux, gradium, ink};
use crate::driver::Dialler;
use crate::server::Hearer;

/// No limit of a session is documented by Cartesia and Deepgram. Proxies between us and them often have one of an hour.
const SESSION: Duration = Duration::from_secs(3_000);
/// Gradium documents five minutes. Half a minute is left to find a pause of the caller in.
const SESSION_GRADIUM: Duration = Duration::from_secs(270);
/// Deepgram closes a link after ten seconds without audio and asks for a sign of life every three to five; the others
/// have more patience, as far as they tell.
const KEEP_ALIVE: Duration = Duration::from_secs(4);

/// The pause of the caller that the core's detector tells of, in milliseconds: only where our own ears decide.
pub(super) fn pause_ms(config: &Config, hearing: Option<&Hearing>) -> Option<u32> {
    let is_wanted = hearing.is_some_and(|hearing| hearing.eager && hearing.turn_end == TurnEnd::Silence);
    is_wanted.then(|| super::millis(config.hearing.eager))
}

/// What the core and what the node is told of hearing; `None` for both if nobody listens.
pub(super) fn hearing(config: &Config) -> Result<(Option<Hearing>, Option<Hearer>), GatewayError> {
    let (config, relay) = (&config.hearing, super::relay::chosen(config));
    let (settings, ca_file) = match config.provider {
        HearingProvider::None => return Ok((None, None)),
        HearingProvider::Cartesia => ink(&config.cartesia),
        HearingProvider::Deepgram => deepgram(&config.deepgram),
        HearingProvider::DeepgramFlux => flux(&config.deepgram_flux),
        HearingProvider::Gradium => gradium(&config.gradium),
    };
    let (joins, turn_end, session) = nature(config);
    let turn_end = match config.turn_end {
        Some(config::TurnEnd::Silence) => TurnEnd::Silence,
        Some(config::TurnEnd::Vendor) => TurnEnd::Vendor,
        None => turn_end,
    };
    let hearing = Hearing {
        name: config.provider.as_str().into(),
        joins,
        turn_end,
        eager: !config.eager.is_zero(),
        partials: config.partials || relay.is_some_and(|relay| relay.partial_prompts),
        language: relay.and_then(config::Relay::hearing_language).map(str::to_owned),
        session: Some(config.session.unwrap_or(session)),
        last_words: config.last_words,
        keep_alive: KEEP_ALIVE,
    };
    let dialler = Arc::new(Dialler::new(ca_file).map_err(GatewayError::Hearing)?);
    Ok((Some(hearing), Some(Hearer { settings, dialler })))
}

/// How a provider's texts are joined, whether it is made for finding turns, and how long a session may last.
fn nature(config: &config::Hearing) -> (Joins, TurnEnd, Duration) {
    match (config.provider, config.cartesia.endpoint) {
        (HearingProvider::Cartesia, InkEndpoint::Manual) => (Joins::Verbatim, TurnEnd::Silence, SESSION),
        (HearingProvider::Cartesia, InkEndpoint::Turns) | (HearingProvider::DeepgramFlux, _) => {
            (Joins::Space, TurnEnd::Vendor, SESSION)
        }
        (HearingProvider::Deepgram | HearingProvider::None, _) => (Joins::Space, TurnEnd::Silence, SESSION),
        (HearingProvider::Gradium, _) => (Joins::Space, TurnEnd::Silence, SESSION_GRADIUM),
    }
}

fn access(url: &str, api_key: Option<&Secret>) -> Access {
    Access { url: url.to_owned(), api_key: api_key.cloned().unwrap_or_default() }
}

fn ink(config: &config::CartesiaHearing) -> (Settings, Option<&Path>) {
    let settings = ink::Settings {
        access: access(config.url(), config.api_key.as_ref()),
        endpoint: match config.endpoint {
            InkEndpoint::Turns => ink::Endpoint::Turns,
            InkEndpoint::Manual => ink::Endpoint::Manual,
        },
        version: config.version.clone(),
        model: config.model.clone(),
        language: config.language.clone(),
        keyterms: config.keyterms.clone(),
        start_threshold: config.start_threshold,
        eager_end_threshold: config.eager_end_threshold,
        end_threshold: config.end_threshold,
        end_timeout: config.end_timeout,
        piece: config.piece,
    };
    (Settings::Cartesia(Box::new(settings)), config.ca_file.as_deref())
}

fn deepgram(config: &config::DeepgramHearing) -> (Settings, Option<&Path>) {
    let settings = deepgram::Settings {
        access: access(&config.url, config.api_key.as_ref()),
        model: config.model.clone(),
        language: config.language.clone(),
        keyterms: config.keyterms.clone(),
        endpointing: config.endpointing,
        utterance_end: config.utterance_end,
        smart_format: config.smart_format,
        piece: config.piece,
    };
    (Settings::Deepgram(Box::new(settings)), config.ca_file.as_deref())
}

fn flux(config: &config::FluxHearing) -> (Settings, Option<&Path>) {
    let settings = flux::Settings {
        access: access(&config.url, config.api_key.as_ref()),
        model: config.model.clone(),
        language: config.language.clone(),
        keyterms: config.keyterms.clone(),
        end_threshold: config.end_threshold,
        eager_end_threshold: config.eager_end_threshold,
        end_timeout: config.end_timeout,
        piece: config.piece,
    };
    (Settings::DeepgramFlux(Box::new(settings)), config.ca_file.as_deref())
}

fn gradium(config: &config::GradiumHearing) -> (Settings, Option<&Path>) {
    let settings = gradium::Settings {
        access: access(&config.url, config.api_key.as_ref()),
        model: config.model.clone(),
        language: config.language.clone(),
        delay_frames: config.delay_frames,
        quiet_threshold: config.quiet_threshold,
        quiet_steps: config.quiet_steps,
        piece: config.piece,
    };
    (Settings::Gradium(Box::new(settings)), config.ca_file.as_deref())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::MediaFormat;
    use crate::config::{Input, load};

    fn config(toml: &str) -> Config {
        let file = Some(("settings.toml".to_owned(), toml.to_owned()));
        load(&Input { file, ..Input::default() }).unwrap_or_else(|problems| panic!("{problems}")).config
    }

    fn nature_of(provider: &str, more: &str) -> (Joins, TurnEnd, u64, String) {
        let toml = format!(
            "hearing.provider = {provider:?}\nhearing.{provider}.url = \"ws://127.0.0.1:9/x\"\n\
             hearing.{provider}.api_key = \"k\"\n{more}"
        );
        let (hearing, hearer) = hearing(&config(&toml)).unwrap();
        let (hearing, hearer) = (hearing.unwrap(), hearer.unwrap());
        assert_eq!(hearing.name, provider);
        let (handshake, _) = hearer.settings.dialect(MediaFormat::TELEPHONE).unwrap().dial(None);
        assert!(handshake.headers.iter().any(|(_, value)| value.expose().ends_with('k')), "{:?}", handshake.headers);
        (hearing.joins, hearing.turn_end, hearing.session.unwrap().as_secs(), handshake.url)
    }

    #[test]
    fn every_provider_has_its_nature() {
        let (joins, end, session, url) = nature_of("cartesia", "hearing.cartesia.end_timeout_ms = 640");
        assert_eq!((joins, end, session), (Joins::Space, TurnEnd::Vendor, 3_000));
        assert!(url.ends_with("&turn_end_timeout_ms=640"), "{url}");
        let (joins, end, ..) = nature_of("cartesia", "hearing.cartesia.endpoint = \"manual\"");
        assert_eq!((joins, end), (Joins::Verbatim, TurnEnd::Silence));
        let (joins, end, session, url) = nature_of("deepgram", "hearing.deepgram.endpointing_ms = 500");
        assert_eq!((joins, end, session), (Joins::Space, TurnEnd::Silence, 3_000));
        assert!(url.contains("&endpointing=500&"), "{url}");
        let (joins, end, _, url) = nature_of("deepgram_flux", "hearing.deepgram_flux.end_threshold = 0.9");
        assert_eq!((joins, end), (Joins::Space, TurnEnd::Vendor));
        assert!(url.ends_with("&eot_threshold=0.9"), "{url}");
        let (joins, end, session, _) = nature_of("gradium", "hearing.turn_end = \"vendor\"");
        assert_eq!((joins, end, session), (Joins::Space, TurnEnd::Vendor, 270));
        assert_eq!(nature_of("gradium", "hearing.session_s = 60").2, 60);
    }

    #[test]
    fn without_a_provider_nobody_listens() {
        let (hearing, hearer) = hearing(&config("")).unwrap();
        assert!(hearing.is_none() && hearer.is_none());
    }

    #[test]
    fn a_pause_is_told_where_our_own_ears_decide() {
        let pause = |toml: &str| {
            let toml = format!("hearing.deepgram.api_key = \"k\"\nhearing.cartesia.api_key = \"k\"\n{toml}");
            crate::gateway::settings(&config(&toml)).unwrap().call.detector.pause_ms
        };
        assert_eq!(pause("hearing.provider = \"deepgram\"\nhearing.eager_ms = 300"), Some(300));
        assert_eq!(pause("hearing.provider = \"deepgram\""), None);
        assert_eq!(pause("hearing.provider = \"cartesia\"\nhearing.eager_ms = 300"), None);
        assert_eq!(pause("hearing.eager_ms = 300"), None);
    }
}
