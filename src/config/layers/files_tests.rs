use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::config::{Input, Loaded, load};

use super::*;

/// A directory of one test, which goes when the test ends.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("trunkline-files-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        Directory(path)
    }

    /// A file that only its owner can read.
    fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> String {
        self.file_of_mode(name, bytes, 0o600)
    }

    fn file_of_mode(&self, name: &str, bytes: impl AsRef<[u8]>, mode: u32) -> String {
        let path = self.0.join(name);
        fs::write(&path, bytes).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path.display().to_string()
    }

    fn path(&self) -> String {
        self.0.display().to_string()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn input(toml: &str, variables: &[(&str, &str)]) -> Input {
    Input {
        file: Some(("settings.toml".to_owned(), toml.to_owned())),
        environment: variables.iter().map(|(name, value)| (name.into(), value.into())).collect(),
        ..Input::default()
    }
}

fn good(toml: &str, variables: &[(&str, &str)]) -> Loaded {
    load(&input(toml, variables)).unwrap_or_else(|problems| panic!("{problems}"))
}

/// The lines of all problems.
fn bad(toml: &str, variables: &[(&str, &str)]) -> Vec<String> {
    load(&input(toml, variables)).expect_err("mistakes").0.iter().map(ToString::to_string).collect()
}

fn warnings(loaded: &Loaded) -> Vec<String> {
    loaded.warnings.iter().map(ToString::to_string).collect()
}

/// An app with one tool, by the keys of its section.
fn tools(more: &str) -> String {
    format!("[[agent.llm.tools]]\nname = \"look\"\ndescription = \"looks\"\nurl = \"https://a.example/\"\n{more}\n")
}

#[test]
fn every_secret_can_come_from_a_file_by_its_own_variable_its_alias_or_as_a_credential() {
    let directory = Directory::new();
    let secrets = KEYS.iter().filter(|key| key.kind == Kind::Secret);
    let secrets: Vec<&Key> = secrets.collect();
    assert!(secrets.len() > 10);
    for key in secrets {
        // Which of the sources it was is told; the value is not.
        let told = |variables: &[(&str, &str)]| match load(&input("", variables)) {
            Ok(loaded) => loaded.summary.iter().find(|line| line.key == key.path).map(|line| line.source.clone()),
            // Most of them want others beside them, which are not the matter here.
            Err(problems) => {
                assert!(problems.0.iter().all(|problem| problem.fault.contains("missing")), "{problems}");
                None
            }
        };
        let file = directory.file("secret", "a-long-enough-secret\n");
        let others: Vec<(&str, &str)> = [
            ("TRUNKLINE__SERVER__PUBLIC_URL", "https://gw.example.com"),
            ("TWILIO_ACCOUNT_SID", "AC1"),
            ("TWILIO_API_KEY", "SK1"),
            ("TWILIO_API_SECRET", "text"),
            ("TWILIO_AUTH_TOKEN", "text"),
            ("TRUNKLINE__SERVER__API_TOKEN", "a-long-enough-secret"),
        ]
        .into_iter()
        .filter(|(name, _)| key.alias != Some(name) && key.variable() != *name)
        .collect();
        let ours = format!("{}_FILE", key.variable());
        let alias = key.alias.map(|alias| format!("{alias}_FILE"));
        for variable in [Some(ours), alias].into_iter().flatten() {
            let mut variables = others.clone();
            variables.push((&variable, &file));
            let source = format!("file {file} of environment variable {variable}");
            assert_eq!(told(&variables), Some(source), "{}", key.path);
        }
        let credentials = Directory::new();
        let credential = credentials.file(key.path, "a-long-enough-secret");
        let (mut variables, path) = (others.clone(), credentials.path());
        variables.push((CREDENTIALS, &path));
        assert_eq!(told(&variables), Some(format!("credential {credential}")), "{}", key.path);
    }
}

#[test]
fn a_file_is_the_secret_but_for_one_line_break() {
    let directory = Directory::new();
    for (text, secret) in [("0012", "0012"), ("0012\n", "0012"), ("0012\r\n", "0012"), ("a b", "a b"), ("ü", "ü")] {
        let file = directory.file("key", text);
        let loaded = good("", &[("CARTESIA_API_KEY_FILE", &file)]);
        assert_eq!(loaded.config.speech.cartesia.api_key.unwrap().expose(), secret);
        assert_eq!(loaded.config.hearing.cartesia.api_key.unwrap().expose(), secret);
    }
}

#[test]
fn entries_of_a_table_come_from_files_with_the_letters_of_their_names() {
    let directory = Directory::new();
    let toml = "server.public_url = \"https://gw.example.com\"\nserver.api_token = \"0123456789abcdef\"\n\
        twilio.shared_keys.KYb = \"from-toml\"\n";
    let file = directory.file("shared", "from-file\n");
    let credentials = Directory::new();
    credentials.file("twilio.shared_keys.KYb", "from-credential");
    credentials.file("twilio.shared_keys.KY.c", "dotted");
    let loaded = good(toml, &[(CREDENTIALS, &credentials.path()), ("TRUNKLINE__TWILIO__SHARED_KEYS__KYa_FILE", &file)]);
    let keys: Vec<(&str, &str)> =
        loaded.config.twilio.shared_keys.iter().map(|(id, key)| (id.as_str(), key.expose())).collect();
    assert_eq!(keys, [("KY.c", "dotted"), ("KYa", "from-file"), ("KYb", "from-credential")]);
}

#[test]
fn credentials_beat_the_file_and_are_beaten_by_variables() {
    let directory = Directory::new();
    let file = directory.file("file", "by-file");
    let credentials = Directory::new();
    credentials.file("speech.cartesia.api_key", "by-credential");
    let path = credentials.path();
    let key = |variables: &[(&str, &str)]| {
        let loaded = good("speech.cartesia.api_key = \"by-toml\"", variables);
        loaded.config.speech.cartesia.api_key.unwrap().expose().to_owned()
    };
    assert_eq!(key(&[]), "by-toml");
    assert_eq!(key(&[(CREDENTIALS, &path)]), "by-credential");
    assert_eq!(key(&[(CREDENTIALS, &path), ("CARTESIA_API_KEY", "by-alias")]), "by-alias");
    let ours = "TRUNKLINE__SPEECH__CARTESIA__API_KEY_FILE";
    assert_eq!(key(&[(CREDENTIALS, &path), ("CARTESIA_API_KEY", "by-alias"), (ours, &file)]), "by-file");
    // What a container platform passes on empty is not set.
    assert_eq!(key(&[(CREDENTIALS, ""), ("CARTESIA_API_KEY_FILE", ""), (ours, "")]), "by-toml");
}

#[test]
fn tools_have_tokens_from_files_too() {
    let directory = Directory::new();
    let file = directory.file("token", "by-file\n");
    let token = |toml: &str, variables: &[(&str, &str)]| {
        let loaded = good(toml, variables);
        (loaded.config.agent.llm.tools[0].token.as_ref().unwrap().expose().to_owned(), warnings(&loaded))
    };
    let toml = tools(&format!("token_file = {file:?}"));
    assert_eq!(token(&toml, &[]), ("by-file".to_owned(), vec![]));
    let credentials = Directory::new();
    credentials.file("agent.llm.tools.look.token", "by-credential");
    let path = credentials.path();
    assert_eq!(token(&toml, &[(CREDENTIALS, &path)]), ("by-credential".to_owned(), vec![]));
    let other = credentials.file("agent.llm.tools.loook.token", "by-credential");
    assert_eq!(
        token(&toml, &[(CREDENTIALS, &path)]).1,
        [format!(
            "credential {other}: agent.llm.tools.loook.token is the token of a tool that is not configured; name the file \
             after a tool, or remove it"
        )]
    );
    let both = tools(&format!("token = \"t\"\ntoken_file = {file:?}"));
    assert_eq!(
        bad(&both, &[]),
        ["settings.toml line 1: agent.llm.tools[1].token_file is set beside token; keep one of the two"]
    );
    let gone = bad(&tools("token_file = \"/no/such/file\""), &[]);
    assert_eq!(
        gone,
        [
            "settings.toml line 1: agent.llm.tools[1].token_file names a file that cannot be read: No such file or directory \
          (os error 2); check its name, and that this user may read it"
        ]
    );
}

#[test]
fn what_is_wrong_with_a_file_is_told_without_what_is_in_it() {
    let directory = Directory::new();
    let path = |name: &str| directory.0.join(name).display().to_string();
    directory.file("empty", "");
    directory.file("break", "\r\n");
    directory.file("latin", b"hunter\xE4");
    directory.file("long", "hunter2".repeat(BYTES_MAX));
    directory.file("lines", "hunter2\nhunter3\n");
    directory.file("spaces", " hunter2");
    for (name, fault) in [
        ("gone", "cannot be read: No such file or directory"),
        ("", "is not a file"),
        ("empty", "is empty; write the secret into it"),
        ("break", "is empty"),
        ("latin", "is not valid UTF-8"),
        ("long", "is longer than 16384 bytes"),
        ("lines", "begins or ends with white space, or holds a line break"),
        ("spaces", "begins or ends with white space, or holds a line break"),
    ] {
        let file = path(name);
        let problems = bad("", &[("GRADIUM_API_KEY_FILE", &file)]);
        // One for the voice, one for whoever writes down what callers say.
        assert_eq!(problems.len(), 2, "{problems:?}");
        let start = format!("file {file} of environment variable GRADIUM_API_KEY_FILE: speech.gradium.api_key {fault}");
        assert!(problems.iter().any(|problem| problem.starts_with(&start)), "{start}: {problems:?}");
        assert!(problems.iter().all(|problem| !problem.contains("hunter")), "{problems:?}");
    }
    let problems = bad("", &[(CREDENTIALS, "/no/such/directory")]);
    assert!(problems[0].starts_with("environment variable CREDENTIALS_DIRECTORY: names a directory"), "{problems:?}");
}

#[test]
fn a_variable_and_its_file_are_one_too_many() {
    let directory = Directory::new();
    let file = directory.file("key", "hunter2");
    let problems = bad("", &[("RIME_API_KEY", "hunter2"), ("RIME_API_KEY_FILE", &file)]);
    let line = format!(
        "file {file} of environment variable RIME_API_KEY_FILE: speech.rime.api_key is set by RIME_API_KEY already; keep \
         one of RIME_API_KEY and RIME_API_KEY_FILE"
    );
    assert_eq!(problems, [line]);
    let ours = "TRUNKLINE__SPEECH__RIME__API_KEY";
    let ours_file = format!("{ours}_FILE");
    assert_eq!(bad("", &[(&ours_file, &file), (ours, "hunter2")]).len(), 1);
    // Different sources are laid over one another, as ever.
    good("", &[("RIME_API_KEY", "hunter2"), (&ours_file, &file)]);
}

#[test]
fn a_file_that_everybody_can_read_is_warned_of() {
    let directory = Directory::new();
    let open = directory.file_of_mode("open", "hunter2", 0o644);
    let loaded = good(&tools(&format!("token_file = {open:?}")), &[("RIME_API_KEY_FILE", &open)]);
    let (file, tool) = (
        format!(
            "file {open} of environment variable RIME_API_KEY_FILE: speech.rime.api_key stands in a file that everybody on \
             this machine can read; take that right away: chmod o-r"
        ),
        "settings.toml line 1: agent.llm.tools[1].token_file stands in a file that everybody on this machine can read; \
         take that right away: chmod o-r",
    );
    assert_eq!(warnings(&loaded), [tool, &file]);
    let group = directory.file_of_mode("group", "hunter2", 0o640);
    assert_eq!(warnings(&good("", &[("RIME_API_KEY_FILE", &group)])), [""; 0]);
}

#[test]
fn credentials_that_are_not_ours_are_let_be_and_misspelt_ones_are_told() {
    let credentials = Directory::new();
    for name in ["tls.key", "notes", "..data"] {
        credentials.file(name, "hunter2");
    }
    fs::create_dir(credentials.0.join("server.api_token")).unwrap();
    let path = credentials.path();
    assert_eq!(warnings(&good("", &[(CREDENTIALS, &path)])), [""; 0]);
    credentials.file("twilio.auth_tokn", "hunter2");
    credentials.file("server.listen", "hunter2");
    let told = warnings(&good("", &[(CREDENTIALS, &path)]));
    let expected = [
        format!(
            "credential {path}/server.listen: server.listen is no secret, and not read from credentials; set it in the \
             TOML file"
        ),
        format!(
            "credential {path}/twilio.auth_tokn: twilio.auth_tokn is not a key, so that the file is not read; did you mean \
             twilio.auth_token?"
        ),
    ];
    assert_eq!(told, expected);
}

#[test]
fn only_secrets_have_files() {
    for (rest, expected) in [
        ("TWILIO__AUTH_TOKEN_FILE", Some(("twilio.auth_token", ""))),
        ("twilio__auth_token_file", Some(("twilio.auth_token", ""))),
        ("TWILIO__SHARED_KEYS__KYa__b_FILE", Some(("twilio.shared_keys", "KYa__b"))),
        // A key of its own.
        ("SPEECH__CARTESIA__CA_FILE", None),
        ("SERVER__LISTEN_FILE", None),
        ("TWILIO__PARAMETERS__X_FILE", None),
        ("TWILIO__SHARED_KEYS_FILE", None),
        ("_FILE", None),
        ("é_FIL", None),
    ] {
        let found = secret_in_file(rest);
        let found = found.as_ref().map(|(key, entry)| (key.path, entry.as_str()));
        assert_eq!(found, expected, "{rest}");
    }
}
