//! Each vendor's section, from the file to what the core and the codec are told.

use std::time::Duration;

use crate::audio::Encoding;
use crate::call::settings::{Buffering, Cancel, Voice};
use crate::config::{Input, Loaded, Provider, load};
use crate::dialect::speech::Settings;

fn input(toml: &str, variables: &[(&str, &str)]) -> Input {
    let environment = variables.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    Input { file: Some(("settings.toml".to_owned(), toml.to_owned())), environment, ..Input::default() }
}

/// The configuration of a vendor with a key and more lines in its section.
fn section(name: &str, more: &str) -> Input {
    input(&format!("[speech]\nchain = [\"{name}\"]\n[speech.{name}]\napi_key = \"hunter2\"\n{more}\n"), &[])
}

fn loaded(input: &Input) -> Loaded {
    load(input).unwrap_or_else(|problems| panic!("{problems}"))
}

fn told(input: &Input) -> (Voice, Settings) {
    let loaded = loaded(input);
    let speech = &loaded.config.speech;
    let section = speech.section(speech.chain[0]).unwrap();
    (section.voice(), section.settings())
}

fn problems(input: &Input) -> Vec<String> {
    load(input).expect_err("mistakes").0.iter().map(ToString::to_string).collect()
}

#[test]
fn every_vendor_has_a_section_a_variable_for_its_key_and_a_domain_that_wants_one() {
    for (name, variable, other) in [
        ("gradium", "GRADIUM_API_KEY", "wss://gradium.ai.example/"),
        ("elevenlabs", "ELEVENLABS_API_KEY", "wss://notelevenlabs.io"),
        ("rime", "RIME_API_KEY", "ws://127.0.0.1:9000/ws3"),
    ] {
        let chain = format!("[speech]\nchain = [\"{name}\"]\n");
        let lines = problems(&input(&chain, &[]));
        let expected = format!("configuration: speech.{name}.api_key is missing, although speech.chain names {name:?}");
        assert!(lines.len() == 1 && lines[0].starts_with(&expected) && lines[0].ends_with(variable), "{lines:?}");
        loaded(&input(&format!("{chain}[speech.{name}]\nurl = \"{other}\"\n"), &[]));
        let with_key = loaded(&input(&chain, &[(variable, "hunter2")]));
        assert_eq!(with_key.config.speech.chain.iter().map(|voice| voice.as_str()).collect::<Vec<_>>(), [name]);
        assert!(with_key.summary.iter().all(|setting| !setting.value.contains("hunter2")));
        let speech = &with_key.config.speech;
        let (voice, settings) = {
            let section = speech.section(speech.chain[0]).unwrap();
            assert_eq!(section.api_key().unwrap().expose(), "hunter2");
            (section.voice(), section.settings())
        };
        assert_eq!(voice.name, name);
        // The key goes to the codec, and onto nothing that is written.
        assert!(!format!("{settings:?}{}", serde_json::to_string(&settings).unwrap()).contains("hunter2"));
    }
}

#[test]
fn gradium_waits_for_the_end_of_what_was_cancelled_and_rolls_over_before_its_limit() {
    let (voice, settings) = told(&section("gradium", ""));
    assert_eq!((voice.cancel, voice.contexts, voice.buffering), (Cancel::Awaited, None, Buffering::Gateway));
    assert!(voice.context_age.is_some_and(|age| age < Duration::from_secs(300)));
    assert_eq!((voice.encoding, voice.rate), (Encoding::PcmS16Le, None), "the carrier's own rate");
    let Settings::Gradium(settings) = settings else { panic!("{settings:?}") };
    assert_eq!(settings.url, "wss://api.gradium.ai/api/speech/tts");
    assert!(settings.json_config.is_empty() && settings.api_key.expose() == "hunter2");
    let (voice, _) = told(&section("gradium", "cancel = \"reconnect\""));
    assert_eq!(voice.cancel, Cancel::Reconnect);
}

#[test]
fn gradium_has_regions_parameters_and_formats() {
    for (more, url) in [
        ("region = \"eu\"", "wss://eu.api.gradium.ai/api/speech/tts"),
        ("region = \"us\"", "wss://us.api.gradium.ai/api/speech/tts"),
        ("region = \"us\"\nurl = \"wss://tts.example/x\"", "wss://tts.example/x"),
    ] {
        let Settings::Gradium(settings) = told(&section("gradium", more)).1 else { panic!("{more}") };
        assert_eq!(settings.url, url);
    }
    let tuned = "temp = 0.6\npadding_bonus = -0.5\njson_config = { cfg_coef = 2.0 }";
    let Settings::Gradium(settings) = told(&section("gradium", tuned)).1 else { panic!("{tuned}") };
    assert_eq!(
        serde_json::Value::from(settings.json_config),
        serde_json::json!({"temp": 0.6, "padding_bonus": -0.5, "cfg_coef": 2.0})
    );
    let twice = problems(&section("gradium", "temp = 0.6\njson_config = { temp = 0.7 }"));
    assert!(twice[0].starts_with("settings.toml line 6: speech.gradium.json_config has \"temp\""), "{twice:?}");
    let (voice, _) = told(&section("gradium", "encoding = \"pcm_mulaw\""));
    assert_eq!(voice.encoding, Encoding::Mulaw);
    let wide = problems(&section("gradium", "encoding = \"pcm_mulaw\"\nsample_rate = 16000"));
    assert!(wide[0].starts_with("settings.toml line 6: speech.gradium.sample_rate is 16000"), "{wide:?}");
}

#[test]
fn elevenlabs_has_five_places_and_knows_its_format_before_it_dials() {
    let (voice, settings) = told(&section("elevenlabs", "encoding = \"pcm_mulaw\"\nspeed = 1.1"));
    assert_eq!((voice.cancel, voice.contexts), (Cancel::Awaited, Some(5)));
    assert_eq!((voice.encoding, voice.rate), (Encoding::Mulaw, Some(8_000)));
    let Settings::Elevenlabs(settings) = settings else { panic!("{settings:?}") };
    assert_eq!((settings.format.encoding, settings.format.rate), (voice.encoding, 8_000));
    assert_eq!(
        (settings.buffering, settings.speed, settings.language.as_deref()),
        (Buffering::Gateway, Some(1.1), None)
    );
    let idle = voice.context_idle.unwrap();
    assert!(idle < crate::dialect::speech::elevenlabs::INACTIVITY && idle > Duration::from_secs(60));
    let managed = Buffering::Vendor { max_delay: Duration::from_millis(300) };
    let (voice, settings) = told(&section("elevenlabs", "buffering = { managed_ms = 300 }\nsample_rate = 16000"));
    let Settings::Elevenlabs(settings) = settings else { panic!("{settings:?}") };
    assert_eq!((voice.buffering, settings.buffering, settings.format.rate), (managed, managed, 16_000));
    let wide = problems(&section("elevenlabs", "encoding = \"pcm_mulaw\"\nsample_rate = 16000"));
    assert!(wide[0].starts_with("settings.toml line 6: speech.elevenlabs.sample_rate is 16000"), "{wide:?}");
}

#[test]
fn rime_has_one_place_and_a_new_link_for_each_interruption() {
    let (voice, settings) = told(&section("rime", "language = \"fr\"\nsample_rate = 16000"));
    assert_eq!((voice.cancel, voice.contexts), (Cancel::Reconnect, Some(1)));
    assert_eq!((voice.encoding, voice.rate, voice.buffering), (Encoding::PcmS16Le, Some(16_000), Buffering::Gateway));
    let Settings::Rime(settings) = settings else { panic!("{settings:?}") };
    assert_eq!((settings.format.rate, settings.voice.as_str()), (16_000, "cove"));
    let speech = loaded(&section("rime", "language = \"fr\"")).config.speech;
    assert_eq!(speech.section(Provider::Rime).unwrap().language(), Some("fr"));
}
