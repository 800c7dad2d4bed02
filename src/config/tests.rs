//! Loading as a whole.

mod agents;
mod tokens;

use std::time::Duration;

use super::*;

fn file(text: &str) -> Input {
    Input { file: Some(("settings.toml".to_owned(), text.to_owned())), ..Input::default() }
}

fn variables(pairs: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
    pairs.iter().map(|(name, value)| (OsString::from(name), OsString::from(value))).collect()
}

fn environment(pairs: &[(&str, &str)]) -> Input {
    Input { environment: variables(pairs), ..Input::default() }
}

fn good(input: &Input) -> Loaded {
    load(input).unwrap_or_else(|problems| panic!("{problems}"))
}

/// The lines of all problems.
fn bad(input: &Input) -> Vec<String> {
    load(input).expect_err("mistakes").0.iter().map(ToString::to_string).collect()
}

#[test]
fn defaults_alone_are_a_working_open_configuration() {
    let loaded = good(&Input::default());
    let config = &loaded.config;
    assert_eq!(config.server.listen, "127.0.0.1:8080".parse().unwrap());
    assert_eq!((config.server.max_calls, config.server.drain), (500, Duration::from_secs(300)));
    assert_eq!(config.trust, Trust::Open);
    assert_eq!((&config.speech.chain[..], config.speech.on_failure), (&[Provider::Local][..], OnFailure::Continue));
    let cartesia = &config.speech.cartesia;
    assert_eq!(cartesia.url, "wss://api.cartesia.ai/tts/websocket");
    assert_eq!((cartesia.version.as_str(), cartesia.model.as_str()), ("2026-03-01", "sonic-3.5"));
    assert_eq!((cartesia.encoding, cartesia.sample_rate), (SpeechEncoding::PcmS16le, None));
    assert_eq!((cartesia.buffering, cartesia.speed), (Buffering::Sentences, None));
    assert_eq!(
        (config.playout.lead, config.playout.prebuffer),
        (Duration::from_millis(120), Duration::from_millis(60))
    );
    let barge_in = config.barge_in;
    assert_eq!((barge_in.policy, barge_in.threshold), (BargeInPolicy::Any, 0.65));
    assert_eq!((barge_in.min_speech, barge_in.silence), (Duration::from_millis(100), Duration::from_millis(700)));
    assert_eq!((config.agent.kind, config.agent.script.lines.len()), (AgentKind::Script, 3));
    assert_eq!((config.log.format, config.log.level.as_str(), config.log.show_text), (LogFormat::Text, "info", false));
    assert_eq!(loaded.warnings, []);
}

/// A text that each kind takes, to set every key once.
fn sample(key: &Key) -> String {
    match key.kind {
        Kind::Text(_) | Kind::Secret => "a-long-enough-text".to_owned(),
        Kind::Integer(min, _) => min.to_string(),
        Kind::Rate(rates) => rates[0].to_string(),
        Kind::Number(_, max) => max.to_string(),
        Kind::Flag => "true".to_owned(),
        Kind::Choice(words) => words[0].to_owned(),
        Kind::Words(words) => words.join(" "),
        Kind::Chain(words) => words[0].to_owned(),
        Kind::Address => "[::1]:80".to_owned(),
        Kind::PublicUrl | Kind::HttpUrl => "https://gw.example.com/x".to_owned(),
        Kind::Caller => "+15550100001".to_owned(),
        Kind::WebSocketUrl => "wss://gw.example.com/x?a=1".to_owned(),
        Kind::Texts => r#"["192.0.2.1"]"#.to_owned(),
        Kind::Table(Entries::Addresses) => "+15550100001".to_owned(),
        Kind::Table(Entries::Tokens) => format!("sha256:{} read", "1".repeat(64)),
        Kind::Table(_) => "text".to_owned(),
        Kind::Buffering => "sentences".to_owned(),
        Kind::Object => r#"{"top_p":0.5}"#.to_owned(),
        Kind::Tools => r#"[{ name = "look", description = "looks", url = "https://a.b/" }]"#.to_owned(),
    }
}

#[test]
fn every_key_can_be_set_by_its_variable_and_reaches_the_typed_configuration() {
    // What is named by the keys of TLS has to be there.
    let directory = std::env::temp_dir().join(format!("trunkline-every-key-{}", std::process::id()));
    fs::create_dir(&directory).unwrap();
    let rcgen::CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (certificate, secret) = (directory.join("cert.pem"), directory.join("key.pem"));
    fs::write(&certificate, cert.pem()).unwrap();
    fs::write(&secret, signing_key.serialize_pem()).unwrap();
    let sample = |key: &Key| match key.path {
        "tls.cert_file" | "tls.client_ca_file" => certificate.display().to_string(),
        "tls.key_file" => secret.display().to_string(),
        _ => sample(key),
    };
    let pairs: Vec<(String, String)> = KEYS
        .iter()
        .map(|key| {
            let entry = match key.kind {
                Kind::Table(Entries::Ignored) => "__hints",
                Kind::Table(_) => "__1",
                _ => "",
            };
            (format!("{}{entry}", key.variable()), sample(key))
        })
        .collect();
    let borrowed: Vec<(&str, &str)> = pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    // The structs refuse unknown fields: a key without a field would not load.
    let loaded = good(&environment(&borrowed));
    fs::remove_dir_all(&directory).unwrap();
    assert_eq!(loaded.summary.len(), KEYS.len());
    for (setting, key) in loaded.summary.iter().zip(KEYS) {
        assert_eq!(setting.key, key.path);
        assert!(setting.source.starts_with("environment variable TRUNKLINE__"), "{}: {}", key.path, setting.source);
        let secret = matches!(key.kind, Kind::Secret);
        assert_eq!(setting.value == "[redacted]", secret, "{}", key.path);
    }
    let config = &loaded.config;
    assert_eq!(config.twilio.shared_keys["1"].expose(), "text");
    assert_eq!((config.twilio.parameters["1"].as_str(), config.agent.script.digits["1"].as_str()), ("text", "text"));
    assert_eq!(config.twilio.after_url.as_deref(), Some("https://gw.example.com/x"));
    assert_eq!((config.speech.cartesia.speed, config.speech.cartesia.volume), (Some(1.5), Some(2.0)));
    let llm = &config.agent.llm;
    assert_eq!((llm.extra["top_p"].as_f64(), llm.tools[0].name.as_str()), (Some(0.5), "look"));
    assert_eq!(llm.transfers["1"], "+15550100001");
}

#[test]
fn flags_beat_the_environment_which_beats_the_file_which_beats_defaults() {
    let mut input = file("[playout]\nlead_ms = 30\nprebuffer_ms = 31\n[log]\nlevel = 'debug'\n");
    input.environment = variables(&[("TRUNKLINE__PLAYOUT__LEAD_MS", "40"), ("TRUNKLINE__PLAYOUT__PREBUFFER_MS", "41")]);
    input.overrides = vec![("playout.lead_ms".to_owned(), "50".to_owned())];
    let loaded = good(&input);
    assert_eq!(loaded.config.playout.lead, Duration::from_millis(50));
    assert_eq!(loaded.config.playout.prebuffer, Duration::from_millis(41));
    assert_eq!(loaded.config.log.level, LogLevel::Debug);
    let source = |key| loaded.summary.iter().find(|setting| setting.key == key).unwrap().source.clone();
    assert_eq!(source("playout.lead_ms"), "command line");
    assert_eq!(source("playout.prebuffer_ms"), "environment variable TRUNKLINE__PLAYOUT__PREBUFFER_MS");
    assert_eq!(source("log.level"), "settings.toml line 5");
    assert_eq!(source("log.format"), "default");
}

#[test]
fn secrets_and_ids_survive_untouched() {
    let loaded = good(&environment(&[
        ("CARTESIA_API_KEY", "0012"),
        ("TRUNKLINE__SPEECH__CARTESIA__VOICE", "12e5"),
        ("TRUNKLINE__SPEECH__CARTESIA__MODEL", "true"),
        ("TRUNKLINE__SERVER__API_TOKEN", "-0.0"),
        ("TRUNKLINE__TWILIO__ACCOUNT_SID", "[1]"),
    ]));
    let cartesia = &loaded.config.speech.cartesia;
    assert_eq!(cartesia.api_key.as_ref().unwrap().expose(), "0012");
    assert_eq!((cartesia.voice.as_str(), cartesia.model.as_str()), ("12e5", "true"));
    assert_eq!(loaded.config.server.api_token.as_ref().unwrap().expose(), "-0.0");
    assert_eq!(loaded.config.twilio.account_sid.as_deref(), Some("[1]"));
}

#[test]
fn our_variable_beats_the_vendors_and_an_empty_one_is_unset() {
    let key = |pairs: &[(&str, &str)]| {
        good(&environment(pairs)).config.speech.cartesia.api_key.map(|secret| secret.expose().to_owned())
    };
    let ours = "TRUNKLINE__SPEECH__CARTESIA__API_KEY";
    assert_eq!(key(&[("CARTESIA_API_KEY", "vendor"), (ours, "ours")]).as_deref(), Some("ours"));
    assert_eq!(key(&[("CARTESIA_API_KEY", "vendor"), (ours, "")]).as_deref(), Some("vendor"));
    assert_eq!(key(&[("CARTESIA_API_KEY", "")]), None);
    let silent = good(&environment(&[("TRUNKLINE__AGENT__SCRIPT__GREETING", "")]));
    assert_eq!(silent.config.agent.script.greeting, "");
    // What container platforms invent for a service of our name is not ours.
    good(&environment(&[("TRUNKLINE_PORT", "tcp://10.0.0.1:80"), ("TRUNKLINE_SERVER_LISTEN", "x")]));
}

#[test]
fn all_mistakes_of_all_sources_are_told_at_once_with_place_and_fix() {
    let mut input = file(
        "[server]\nlistn = \"127.0.0.1:80\"\nmax_calls = \"many\"\napi_token = 1234\n\
         [playout]\nlead_ms = 5\nprebuffer_ms = 1.5\n[barge_in]\npolicy = \"speach\"\nthreshold = 2\n\
         [cartesia]\napi_key = \"k\"\n[agent]\nscript = \"hello\"\n[log]\nshow_text = \"yes\"\nformat = 2026-01-01\n",
    );
    input.environment = variables(&[
        ("TRUNKLINE__SPEECH__CARTESIA__SAMPLE_RATE", "11025"),
        ("TRUNKLINE__SPEECH__EMOTION", "x"),
        ("TRUNKLINE__PLAYOUT__LEAD_MS", "60"),
        ("TRUNKLINE__AGENT__SCRIPT__LINES", "hello"),
        ("TRUNKLINE__AGENT__SCRIPT__DIGITS__12", "hello"),
        ("TWILIO_AUTH_TOKEN", " secret\n"),
    ]);
    input.overrides = vec![("server.listen".to_owned(), "localhost:80".to_owned())];
    let lines = bad(&input);
    let expected = [
        "settings.toml line 2: server.listn is not a key; did you mean server.listen?",
        "settings.toml line 3: server.max_calls is text; write a whole number from 1 to 100000",
        "settings.toml line 4: server.api_token is a number, but text is wanted; write it in quotes",
        "settings.toml line 6: playout.lead_ms is 5; write a whole number from 20 to 1000",
        "settings.toml line 7: playout.prebuffer_ms is a number; write a whole number from 0 to 1000",
        "settings.toml line 9: barge_in.policy is \"speach\"; write one of \"any\", \"speech\", \"dtmf\", \"none\" (did you mean \"speech\"?)",
        "settings.toml line 10: barge_in.threshold is 2; write a number from 0.0 to 1.0",
        "settings.toml line 11: cartesia is not a key; did you mean speech.cartesia?",
        "settings.toml line 14: agent.script is a section, not a key; write [agent.script] on a line of its own, and its keys below",
        "settings.toml line 16: log.show_text is text; write true or false",
        "settings.toml line 17: log.format is a date, but text is wanted; write it in quotes",
        "environment variable TWILIO_AUTH_TOKEN: twilio.auth_token begins or ends with white space, or holds a line break; write the bare secret, such as without the line break at the end of a file",
        "environment variable TRUNKLINE__AGENT__SCRIPT__DIGITS__12: agent.script.digits.12 is not a key of a telephone; name it by one of 0 to 9, *, #, A to D",
        "environment variable TRUNKLINE__AGENT__SCRIPT__LINES: agent.script.lines is not a list; write a list of texts in quotes, such as [\"one\", \"two\"]",
        "environment variable TRUNKLINE__SPEECH__CARTESIA__SAMPLE_RATE: speech.cartesia.sample_rate is 11025; write one of 8000, 16000, 22050, 24000, 44100, 48000",
        "environment variable TRUNKLINE__SPEECH__EMOTION: speech.emotion is not a key; did you mean speech.cartesia.emotion?",
        "command line: server.listen is \"localhost:80\"; write an IP address and a port, such as \"127.0.0.1:8080\"",
        "configuration: server.public_url is missing, although twilio.auth_token is set: signatures cover the address that Twilio calls; set it, for example by TRUNKLINE__SERVER__PUBLIC_URL, or start with --insecure",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn no_problem_shows_a_secret() {
    let texts = [
        "[twilio]\nauth_token = hunter2\n",
        "[twilio]\nauth_token = \"hunter2\nx\"\n",
        "[twilio]\nauth_token = \"hunter2 \"\n",
        "[twilio.shared_keys]\nKY1 = \"hunter2 \"\n",
        "[server]\npublic_url = \"https://me:hunter2@example.com\"\n",
        "[speech.cartesia]\nurl = \"wss://api.cartesia.ai/?api_key=hunter2\"\n",
    ];
    for text in texts {
        let lines = bad(&file(text)).join("\n");
        assert!(lines.contains("settings.toml line 2"), "{lines}");
        assert!(!lines.contains("hunter2"), "{lines}");
    }
    let loaded = good(&environment(&[("CARTESIA_API_KEY", "hunter2"), ("TRUNKLINE__SERVER__API_TOKEN", "hunter2")]));
    assert!(!format!("{loaded:?}").contains("hunter2"));
}

#[test]
fn a_file_that_is_not_toml_is_told_by_line_beside_other_sources() {
    let mut input = file("[server\nlisten = \"127.0.0.1:80\"\n");
    input.environment = variables(&[("TRUNKLINE__LOG__LEVEL", "loud"), ("TWILIO_AUTH_TOKEN", "abc")]);
    let lines = bad(&input);
    assert!(lines[0].starts_with("settings.toml line 1: the text is not TOML: "), "{lines:?}");
    let last = lines.last().unwrap();
    assert!(last.starts_with("environment variable TRUNKLINE__LOG__LEVEL: log.level is \"loud\""), "{lines:?}");
    assert!(lines.iter().all(|line| !line.contains("missing")), "{lines:?}");

    let lines =
        bad(&file("[twilio]\nauth_token = 0012\n[playout]\nlead_ms = 5\nprebuffer_ms = 00\n[log]\nlevl = \"info\"\n"));
    let places: Vec<&str> = lines.iter().map(|line| line.split(':').next().unwrap()).collect();
    assert_eq!(
        places,
        ["settings.toml line 2", "settings.toml line 5", "settings.toml line 4", "settings.toml line 7"]
    );
    assert!(lines[0].ends_with("text, ids and secrets stand in quotes"), "{lines:?}");
}

#[test]
fn names_in_tables_are_kept_as_written() {
    let mut input = file(
        "[twilio.shared_keys]\n\"KY.a-B\" = \"0012\"\n[twilio.parameters]\n\"tenant id\" = \"acme\"\n\
         [agent.script.digits]\n1 = \"one\"\n\"*\" = \"star\"\n[server]\npublic_url = \"https://a.b\"\n",
    );
    input.environment = variables(&[
        ("TRUNKLINE__TWILIO__SHARED_KEYS__KYx__Y", "12e5"),
        ("TRUNKLINE__SERVER__API_TOKEN", "0123456789abcdef"),
    ]);
    let config = good(&input).config;
    let keys: Vec<_> = config.twilio.shared_keys.iter().map(|(id, secret)| (id.as_str(), secret.expose())).collect();
    assert_eq!(keys, [("KY.a-B", "0012"), ("KYx__Y", "12e5")]);
    assert_eq!(config.twilio.parameters["tenant id"], "acme");
    assert_eq!(config.agent.script.digits["*"], "star");
    let lines = bad(&file("[twilio.parameters]\ntrunkline_token = \"x\"\n\"trunkline.from\" = \"x\"\nn = 1\n"));
    assert_eq!(lines.len(), 3, "{lines:?}");
}

#[test]
fn buffering_is_one_of_two_modes_and_never_both() {
    let name = "TRUNKLINE__SPEECH__CARTESIA__BUFFERING";
    let managed = "TRUNKLINE__SPEECH__CARTESIA__BUFFERING__MANAGED_MS";
    let in_file = |value: &str| file(&format!("[speech.cartesia]\nbuffering = {value}\n"));
    let mode = |input: &Input| good(input).config.speech.cartesia.buffering;
    let ms = |ms| Buffering::Managed(Duration::from_millis(ms));
    assert_eq!(mode(&environment(&[(name, "sentences")])), Buffering::Sentences);
    assert_eq!(mode(&environment(&[(managed, "3000")])), ms(3_000));
    assert_eq!(mode(&in_file("{ managed_ms = 5000 }")), ms(5_000));
    assert_eq!(mode(&file("[speech.cartesia.buffering]\nmanaged_ms = 1\n")), ms(1));
    let over = |value, pairs: &[(&str, &str)]| Input { environment: variables(pairs), ..in_file(value) };
    assert_eq!(mode(&over("{ managed_ms = 5000 }", &[(name, "sentences")])), Buffering::Sentences);
    assert_eq!(mode(&over("\"sentences\"", &[(managed, "70")])), ms(70));
    for wrong in ["\"words\"", "3000", "{ managed_ms = 0 }", "{ managed_ms = 5001 }", "{ managed_ms = 1, x = 2 }", "{}"]
    {
        assert_eq!(bad(&in_file(wrong)).len(), 1, "{wrong}");
    }
    assert_eq!(bad(&environment(&[(name, "sentences"), (managed, "3000")])).len(), 1);
}

#[test]
fn trust_follows_configuration_and_not_the_listen_address() {
    const URL: (&str, &str) = ("TRUNKLINE__SERVER__PUBLIC_URL", "https://gw.example.com/base");
    const TOKEN: (&str, &str) = ("TWILIO_AUTH_TOKEN", "12345");
    const API: (&str, &str) = ("TRUNKLINE__SERVER__API_TOKEN", "0123456789abcdef");
    const SHARED: (&str, &str) = ("TRUNKLINE__TWILIO__SHARED_KEYS__KY1", "12345");
    const WIDE: (&str, &str) = ("TRUNKLINE__SERVER__LISTEN", "0.0.0.0:8080");
    let trust = |pairs: &[(&str, &str)]| good(&environment(pairs)).config.trust;
    assert_eq!(trust(&[]), Trust::Open);
    assert_eq!(trust(&[("TRUNKLINE__SERVER__LISTEN", "[::1]:8080")]), Trust::Open);
    assert_eq!(trust(&[URL, TOKEN, API]), Trust::Signed);
    assert_eq!(trust(&[URL, SHARED, API, WIDE]), Trust::Signed);

    let missing = |pairs: &[(&str, &str)]| -> Vec<String> {
        let problems = load(&environment(pairs)).expect_err("mistakes").0;
        assert!(problems.iter().all(|problem| problem.fix.contains("--insecure")), "{problems:?}");
        problems.into_iter().map(|problem| problem.key).collect()
    };
    assert_eq!(missing(&[URL]), ["twilio.auth_token", "server.api_token"]);
    assert_eq!(missing(&[TOKEN]), ["server.public_url", "server.api_token"]);
    assert_eq!(missing(&[SHARED]), ["server.public_url", "server.api_token"]);
    assert_eq!(missing(&[URL, TOKEN]), ["server.api_token"]);
    assert_eq!(missing(&[WIDE]), ["server.listen"]);
    assert_eq!(missing(&[WIDE, API]), ["server.listen"]);
    let line = bad(&environment(&[TOKEN, API])).join("\n");
    assert_eq!(
        line,
        "configuration: server.public_url is missing, although twilio.auth_token is set: signatures cover the address \
         that Twilio calls; set it, for example by TRUNKLINE__SERVER__PUBLIC_URL, or start with --insecure"
    );
    for pairs in [&[][..], &[WIDE], &[URL], &[TOKEN, WIDE], &[URL, TOKEN, API]] {
        let loaded = good(&Input { insecure: true, ..environment(pairs) });
        assert_eq!(loaded.config.trust, Trust::Insecure);
        assert!(loaded.warnings.iter().any(|warning| warning.fault.contains("--insecure")));
    }
}

#[test]
fn the_vendor_wants_a_key_and_other_servers_need_none() {
    let provider = ("TRUNKLINE__SPEECH__CHAIN", "cartesia local");
    let url = |url| ("TRUNKLINE__SPEECH__CARTESIA__URL", url);
    let lines = bad(&environment(&[provider]));
    assert_eq!(
        lines,
        ["configuration: speech.cartesia.api_key is missing, although speech.chain names \"cartesia\" (environment \
          variable TRUNKLINE__SPEECH__CHAIN); set it, for example by CARTESIA_API_KEY"]
    );
    assert_eq!(bad(&environment(&[provider, url("wss://API.cartesia.ai:443/x")])).len(), 1);
    let warnings = |pairs: &[(&str, &str)]| good(&environment(pairs)).warnings.len();
    assert_eq!(warnings(&[provider, ("CARTESIA_API_KEY", "x")]), 0);
    assert_eq!(warnings(&[provider, url("ws://127.0.0.1:9000/tts/websocket")]), 0);
    assert_eq!(warnings(&[provider, url("ws://localhost:9000")]), 0);
    assert_eq!(warnings(&[provider, url("wss://tts.example.com/")]), 0);
    assert_eq!(warnings(&[provider, url("ws://tts.example.com/")]), 1);
}

#[test]
fn a_chain_names_each_voice_once_and_the_local_one_last() {
    let chain = |text: &str| file(&format!("[speech]\nchain = {text}\n"));
    let with_key = |text: &str| Input { environment: variables(&[("CARTESIA_API_KEY", "x")]), ..chain(text) };
    let good_chain = good(&with_key(r#"["cartesia", "local"]"#)).config.speech.chain;
    assert_eq!(good_chain, [Provider::Cartesia, Provider::Local]);
    for (text, problem) in [
        (r#"["local", "cartesia"]"#, "settings.toml line 2: speech.chain has \"local\" before others"),
        (r#"["cartesia", "cartesia"]"#, "settings.toml line 2: speech.chain holds \"cartesia\" twice"),
        (
            r#"["cartezia"]"#,
            "settings.toml line 2: speech.chain holds \"cartezia\"; write a list of one or more of local",
        ),
        ("[]", "settings.toml line 2: speech.chain is empty"),
        ("[1]", "settings.toml line 2: speech.chain is a list; write a list"),
    ] {
        let lines = bad(&with_key(text));
        assert!(lines.len() == 1 && lines[0].starts_with(problem), "{lines:?}");
    }
    let renamed = bad(&file("[speech]\nprovider = \"cartesia\"\n"));
    assert!(renamed[0].ends_with("did you mean speech.chain?"), "{renamed:?}");
}

#[test]
fn mulaw_goes_with_eight_kilohertz_only() {
    let with = |rate: &str| {
        file(&format!(
            "[speech]\nchain = [\"cartesia\"]\n[speech.cartesia]\napi_key = \"x\"\nencoding = \"pcm_mulaw\"\n{rate}"
        ))
    };
    assert_eq!(good(&with("")).config.speech.cartesia.encoding, SpeechEncoding::PcmMulaw);
    assert_eq!(good(&with("sample_rate = 8000")).config.speech.cartesia.sample_rate, Some(8_000));
    let lines = bad(&with("sample_rate = 16000"));
    assert!(lines[0].starts_with("settings.toml line 6: speech.cartesia.sample_rate is 16000"), "{lines:?}");
}

#[test]
fn what_works_but_is_weak_is_warned_of() {
    let loaded = good(&environment(&[
        ("TRUNKLINE__SERVER__PUBLIC_URL", "http://gw.example.com"),
        ("TRUNKLINE__SERVER__API_TOKEN", "short"),
        ("TRUNKLINE__SERVER__TOKEN_KEY", "short"),
        ("TWILIO_AUTH_TOKEN", "12345"),
    ]));
    let keys: Vec<&str> = loaded.warnings.iter().map(|warning| warning.key.as_str()).collect();
    assert_eq!(keys, ["server.public_url", "server.api_token", "server.token_key"]);
}

#[test]
fn the_example_file_is_the_secure_configuration() {
    let text = include_str!("../../deploy/settings.example.toml");
    let secrets = [
        ("TWILIO_AUTH_TOKEN", "12345"),
        ("CARTESIA_API_KEY", "x"),
        ("TRUNKLINE__SERVER__API_TOKEN", "0123456789abcdef"),
        ("TRUNKLINE__SERVER__TOKEN_KEY", "0123456789abcdef"),
    ];
    let loaded = good(&Input { environment: variables(&secrets), ..file(text) });
    assert_eq!(loaded.config.trust, Trust::Signed);
    assert_eq!(loaded.config.speech.chain, [Provider::Cartesia]);
    assert_eq!(loaded.warnings, []);
    // Without its secrets it does not start, and says which are wanted.
    let keys: Vec<String> = load(&file(text)).expect_err("mistakes").0.into_iter().map(|problem| problem.key).collect();
    assert_eq!(keys, ["twilio.auth_token", "server.api_token", "speech.cartesia.api_key"]);
    // Every line that is commented out is right as well.
    let uncommented: String =
        text.lines().map(|line| line.strip_prefix("#: ").unwrap_or(line)).collect::<Vec<_>>().join("\n");
    assert_ne!(uncommented, text.trim_end());
    good(&Input { environment: variables(&secrets), ..file(&uncommented) });
}

#[test]
fn an_api_key_has_two_halves_and_an_account_and_turns_trust_on() {
    let whole = "[twilio]\naccount_sid = 'AC1'\napi_key_sid = 'SK1'\napi_key_secret = 's3cret-of-the-key'\nauth_token = 'x'\n\
        [server]\npublic_url = 'https://a.b'\napi_token = 'a-long-enough-token'\n";
    assert_eq!(good(&file(whole)).config.trust, Trust::Signed);
    for half in ["account_sid = 'AC1'\n", "api_key_sid = 'SK1'\n", "api_key_secret = 's3cret-of-the-key'\n"] {
        let lines = bad(&file(&whole.replace(half, "")));
        let key = half.split(' ').next().unwrap();
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].contains(&format!("twilio.{key} is missing, although twilio.api_key_")), "{lines:?}");
        assert!(!lines[0].contains("s3cret"), "{lines:?}");
    }
    let lines =
        bad(&file("[twilio]\naccount_sid = 'AC1'\napi_key_sid = 'SK1'\napi_key_secret = 's3cret-of-the-key'\n"));
    assert_eq!(lines.len(), 3, "public url, auth token and api token: {lines:?}");
    // An account alone proves nothing and opens nothing.
    assert_eq!(good(&file("[twilio]\naccount_sid = 'AC1'\n")).config.trust, Trust::Open);
}

#[test]
fn who_calls_is_checked_and_never_repeated() {
    for from in ["+15550100001", "sip:a@b.example", "client:bot"] {
        let loaded = good(&file(&format!("[twilio]\nfrom = '{from}'\n")));
        assert_eq!(loaded.config.twilio.from.unwrap().as_str(), from);
        assert!(loaded.summary.iter().all(|setting| !setting.value.contains(from)));
    }
    let lines = bad(&file("[twilio]\nfrom = '15550123456'\napi_url = 'ftp://a'\n"));
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines.iter().all(|line| !line.contains("5550123456")), "{lines:?}");
    let plain = "[twilio]\naccount_sid = 'AC1'\napi_url = 'http://api.example.com'\n";
    assert_eq!(good(&file(plain)).warnings.len(), 1);
}

#[test]
fn no_more_sockets_are_kept_warm_than_the_account_has() {
    let limits = |warm: u32| {
        file(&format!(
            "speech.chain = [\"cartesia\"]\n[speech.cartesia]\napi_key = \"x\"\nmax_sockets = 2\nwarm = {warm}\n"
        ))
    };
    assert_eq!(good(&limits(2)).config.speech.cartesia.warm, 2);
    let line = "settings.toml line 5: speech.cartesia.warm is 3, but max_sockets is 2; keep fewer sockets warm";
    assert_eq!(bad(&limits(3)), [line]);
}
