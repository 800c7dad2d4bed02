use std::os::unix::fs::PermissionsExt;

use clap::Parser;
use futures_util::StreamExt;
use tokio::net::TcpListener;
use tokio_tungstenite::accept_async;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::*;

const CALLS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/calls");

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    args: ReplayArgs,
}

fn parse(args: &[&str]) -> Result<ReplayArgs, clap::Error> {
    Cli::try_parse_from(["replay"].iter().chain(args)).map(|cli| cli.args)
}

/// What a command prints, and whether it fails.
async fn run(args: &[&str]) -> (String, Result<(), ReplayError>) {
    let mut out = Vec::new();
    let result = replay_all(&parse(args).unwrap(), &mut out).await;
    (String::from_utf8(out).unwrap(), result)
}

fn directory(name: &str) -> PathBuf {
    let directory = std::env::temp_dir().join(format!("trunkline-replay-{name}-{}", std::process::id()));
    let _ = fs::remove_dir_all(&directory);
    fs::create_dir_all(&directory).unwrap();
    directory
}

#[tokio::test]
async fn a_check_goes_on_after_a_tape_that_cannot_be_read() {
    let directory = directory("check");
    for name in ["a", "b", "c"] {
        fs::create_dir(directory.join(name)).unwrap();
        fs::copy(format!("{CALLS}/hang-up-mid-turn/tape.jsonl"), directory.join(name).join("tape.jsonl")).unwrap();
        fs::copy(format!("{CALLS}/hang-up-mid-turn/expected.jsonl"), directory.join(name).join("expected.jsonl"))
            .unwrap();
    }
    fs::write(directory.join("b/tape.jsonl"), "no tape\n").unwrap();
    let (shown, result) = run(&["--check", directory.to_str().unwrap()]).await;
    let lines: Vec<&str> = shown.lines().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(lines, ["ok", "FAILED", "ok"], "{shown}");
    assert!(shown.contains("b/tape.jsonl: line 1 is no header of a tape: "), "{shown}");
    assert!(matches!(result, Err(ReplayError::Check { failed: 1, all: 3 })), "{result:?}");
    fs::remove_dir_all(directory).unwrap();
}

#[tokio::test]
async fn a_tape_named_itself_is_compared_like_its_folder() {
    let (shown, result) = run(&["--check", &format!("{CALLS}/hang-up-mid-turn/tape.jsonl")]).await;
    assert!(shown.contains("lines as expected"), "{shown}");
    result.unwrap();
}

#[tokio::test]
async fn redaction_never_writes_over_a_file_and_a_wav_is_the_owners() {
    let directory = directory("redact");
    let (tape, wav) = (directory.join("tape.jsonl"), directory.join("call.wav"));
    let original = fs::read(format!("{CALLS}/hang-up-mid-turn/tape.jsonl")).unwrap();
    fs::write(&tape, &original).unwrap();
    let (path, wav_path) = (tape.to_str().unwrap(), wav.to_str().unwrap());
    let (_, result) = run(&[path, "--redact", path]).await;
    assert!(matches!(result, Err(ReplayError::Open(..))), "{result:?}");
    assert_eq!(fs::read(&tape).unwrap(), original);
    assert!(parse(&[path, "--redact", "new.jsonl", "--wav", wav_path]).is_err());
    run(&[path, "--wav", wav_path]).await.1.unwrap();
    assert_eq!(fs::metadata(&wav).unwrap().permissions().mode() & 0o777, 0o600);
    run(&[path, "--redact", directory.join("new.jsonl").to_str().unwrap()]).await.1.unwrap();
    fs::remove_dir_all(directory).unwrap();
}

/// A reader that goes away after the first line.
struct Head {
    lines: usize,
    writes_after: usize,
}

impl Write for Head {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.lines > 0 {
            self.writes_after += 1;
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        self.lines += bytes.iter().filter(|byte| **byte == b'\n').count();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_reader_that_has_seen_enough_is_no_failure() {
    let mut head = Head { lines: 0, writes_after: 0 };
    let path = format!("{CALLS}/hang-up-mid-turn");
    replay_all(&parse(&[&path]).unwrap(), &mut Screen::new(&mut head)).await.unwrap();
    assert_eq!((head.lines, head.writes_after), (1, 1));
    // Any other failure is one, and ends it.
    assert!(replay_all(&parse(&[&path]).unwrap(), &mut [0; 64].as_mut_slice()).await.is_err());
}

#[tokio::test]
async fn a_stream_that_ends_before_its_tape_says_why_and_fails() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap());
    let gateway = async {
        let mut socket = accept_async(listener.accept().await.unwrap().0).await.unwrap();
        socket.next().await.unwrap().unwrap();
        let goodbye = CloseFrame { code: CloseCode::Again, reason: "full\u{7}".into() };
        socket.close(Some(goodbye)).await.unwrap();
        while let Some(Ok(_)) = socket.next().await {}
    };
    let path = format!("{CALLS}/hang-up-mid-turn");
    let args = [path.as_str(), "--live", &url];
    let ((shown, result), ()) = tokio::join!(run(&args), gateway);
    assert!(shown.contains("closed by the gateway with code 1013, \"full\\u{7}\""), "{shown}");
    let Err(error @ ReplayError::Live(_, live::LiveError::Early)) = result else { panic!("{result:?}") };
    assert!(reasons(&error).contains("hang-up-mid-turn"), "{error}");
}
