//! `trunkline top --once`: the program itself against a live gateway.

use std::process::Output;

use serde_json::json;
use tokio::process::Command;

use crate::support::gateway::{API_TOKEN, Gateway};
use crate::support::soon;

/// What the program prints, with nothing but these variables in its environment.
async fn top(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_trunkline"));
    command.arg("top").args(arguments).env_clear().envs(environment.iter().copied());
    soon("the end of the program", command.output()).await.unwrap()
}

#[tokio::test]
async fn a_table_of_the_calls_is_printed_once() {
    let gateway = Gateway::open("").await;
    let mut phone = gateway.dial().await.unwrap();
    phone.start("CA0123456789abcdef0123456789abcdef", &[("trunkline.from", "+15550100001")]);
    gateway.is_listed("CA0123456789abcdef0123456789abcdef").await;
    let _second = gateway.call("CA2").await;
    let text = "A sentence that takes a while to say, so that there is time to look at it in the middle of it all.";
    gateway.say("CA0123456789abcdef0123456789abcdef", json!({ "text": text })).await;
    phone.sees("speech", |seen| seen.frames > 20).await;

    let url = format!("http://{}", gateway.address);
    // No terminal is the same as `--once`.
    for arguments in [&["--url", &url, "--once"][..], &["--url", &url, "--sort", "turns"]] {
        let output = top(arguments, &[]).await;
        let (shown, errors) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
        assert!(output.status.success(), "{errors}");
        let lines: Vec<&str> = shown.lines().collect();
        assert!(lines[0].contains("calls 2/") && lines[0].ends_with("ready"), "{shown}");
        let speaking = lines.iter().find(|line| line.starts_with("…456789abcdef")).unwrap();
        assert!(speaking.contains("speaking") && speaking.contains("local"), "{shown}");
        let listening = lines.iter().find(|line| line.starts_with("CA2 ")).unwrap();
        assert!(listening.contains("listening"), "{shown}");
        assert!(!shown.contains("15550100001") && !shown.contains("sentence"), "{shown}");
    }
}

#[tokio::test]
async fn the_token_comes_from_a_file_or_the_environment_and_is_not_shown() {
    let gateway = Gateway::signed("https://gw.example.com", "").await;
    let url = format!("http://{}", gateway.address);
    let error = |output: &Output| String::from_utf8(output.stderr.clone()).unwrap();
    let refused = top(&["--url", &url], &[("TRUNKLINE__SERVER__API_TOKEN", "a-wrong-token")]).await;
    assert_eq!(refused.status.code(), Some(1));
    assert!(error(&refused).contains("--token-file") && !error(&refused).contains("a-wrong-token"), "{refused:?}");
    assert!(top(&["--url", &url], &[("TRUNKLINE__SERVER__API_TOKEN", API_TOKEN)]).await.status.success());
    let file = std::env::temp_dir().join(format!("trunkline-top-{}", std::process::id()));
    std::fs::write(&file, format!("{API_TOKEN}\n")).unwrap();
    let named = top(&["--url", &url, "--token-file", file.to_str().unwrap()], &[]).await;
    std::fs::remove_file(&file).unwrap();
    assert!(named.status.success(), "{named:?}");

    // Port 1 of loopback: nobody is there.
    let nobody = top(&["--url", "http://127.0.0.1:1"], &[]).await;
    assert!(!nobody.status.success() && error(&nobody).contains("cannot be reached"), "{nobody:?}");
    let nonsense = top(&["--url", "gateway"], &[]).await;
    assert!(error(&nonsense).contains("--url"), "{nonsense:?}");
}
