//! Tokens of the HTTP API.

use super::*;

#[test]
fn tokens_of_the_api_stand_in_the_configuration_by_their_digests() {
    let digest = |digit: &str| format!("sha256:{}", digit.repeat(64));
    let toml = "server.public_url = \"https://gw.example.com\"\ntwilio.auth_token = \"12345\"\n";
    let missing = bad(&file(toml));
    assert!(missing[0].contains("server.api_token is missing"), "{missing:?}");
    // Whoever has tokens with scopes needs none that is good for everything.
    let loaded = good(&file(&format!("{toml}server.tokens.a = \"{} read\"", digest("1"))));
    assert!(loaded.config.server.api_token.is_none() && loaded.config.server.tokens.contains_key("a"));
    assert!(!format!("{loaded:?}").contains("1111"), "{loaded:?}");
    let wrong = bad(&file("[server.tokens]\na = \"hunter2 read\"\nb = \"sha256:12 read\"\nc = 1\n"));
    let fix = |name: &str| format!("write the line that `trunkline token --name {name}` prints");
    assert_eq!(
        wrong[..2],
        [
            format!(
                "settings.toml line 2: server.tokens.a begins with no sha256: and 64 hexadecimal digits; {}",
                fix("a")
            ),
            format!(
                "settings.toml line 3: server.tokens.b begins with no sha256: and 64 hexadecimal digits; {}",
                fix("b")
            ),
        ]
    );
    assert_eq!(wrong.len(), 3);
    let twice = format!("[server.tokens]\na = \"{0} read\"\nb = \"{0} admin\"", digest("2"));
    assert_eq!(
        bad(&file(&twice)),
        ["settings.toml line 3: server.tokens.b is the same token as a; make another one with `trunkline token`"]
    );
    // The digest of `abc`.
    let abc = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    let all = bad(&file(&format!("server.api_token = \"abc\"\nserver.tokens.b = \"{abc} admin\"")));
    assert!(all[0].contains("server.tokens.b is the same token as server.api_token"), "{all:?}");
}

#[test]
fn a_token_that_nobody_is_asked_for_or_can_send_is_told_of() {
    let loaded = good(&environment(&[("TRUNKLINE__SERVER__API_TOKEN", "long enough to be one")]));
    assert!(loaded.warnings.iter().any(|warning| warning.key == "server.api_token"), "{:?}", loaded.warnings);
    // No header can carry it.
    let lines = bad(&environment(&[("TRUNKLINE__SERVER__API_TOKEN", "schlüssel, und lang genug")]));
    assert!(lines[0].contains("server.api_token holds a character") && !lines[0].contains("lang"), "{lines:?}");
}
