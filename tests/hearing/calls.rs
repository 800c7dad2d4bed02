//! Whole calls against the emulated vendors, which know what is said in the clips: every dialect, two utterances, and a
//! session that is replaced between them.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use trunkline::emulate::stt::{Dialect, Journal, Server, Settings};

use crate::bench::Bench;

const QUESTION: &str = "Which folder should I save the message to?";
const STATEMENT: &str = "I'm sorry, I did not understand your response.";
const SESSION: Duration = Duration::from_secs(3);

/// An emulated vendor. Dropping it drops every socket.
struct Vendor {
    url: String,
    journal: Journal,
    _tasks: JoinSet<()>,
}

async fn vendor(dialect: Dialect) -> Vendor {
    let server = Server::bind("127.0.0.1:0".parse().unwrap(), Settings::default()).await.unwrap();
    let (url, journal) = (server.url_of(dialect), server.journal());
    let mut tasks = JoinSet::new();
    tasks.spawn(server.run(CancellationToken::new()));
    Vendor { url, journal, _tasks: tasks }
}

/// Two utterances with a change of sessions between them; what the agent was told, without case and marks.
async fn told(dialect: Dialect, provider: &str, more: &str) -> Vec<String> {
    let vendor = vendor(dialect).await;
    let toml = format!(
        "agent.kind = \"api\"\nhearing.provider = \"{provider}\"\nhearing.{provider}.api_key = \"k\"\n\
         hearing.{provider}.url = \"{}\"\n{more}",
        vendor.url
    );
    let mut bench = Bench::start(&toml, |settings| {
        settings.conversation.hearing.as_mut().unwrap().session = Some(SESSION);
    });
    bench.say("question.wav").await;
    bench.prompts_of(1).await;
    bench
        .hush_until("a second session", |_| {
            vendor.journal.connections().iter().filter(|connection| connection.samples > 0).count() > 1
        })
        .await;
    bench.say("statement.wav").await;
    let prompts = bench.prompts_of(2).await;
    bench.stop().await;
    let bare = |text: &String| text.chars().filter(|c| c.is_alphanumeric() || *c == ' ').collect::<String>();
    prompts.iter().map(|prompt| bare(prompt).to_lowercase()).collect()
}

fn said() -> [String; 2] {
    [QUESTION, STATEMENT].map(|text| text.to_lowercase().replace(['?', '.', ',', '\''], ""))
}

#[tokio::test]
async fn ink_with_turns() {
    assert_eq!(told(Dialect::InkTurns, "cartesia", "").await, said());
}

#[tokio::test]
async fn ink_that_is_told_when_to_finalise() {
    assert_eq!(told(Dialect::InkManual, "cartesia", "hearing.cartesia.endpoint = \"manual\"").await, said());
}

#[tokio::test]
async fn deepgram() {
    assert_eq!(told(Dialect::Nova, "deepgram", "").await, said());
}

#[tokio::test]
async fn deepgram_whose_own_signs_end_turns() {
    assert_eq!(told(Dialect::Nova, "deepgram", "hearing.turn_end = \"vendor\"").await, said());
}

#[tokio::test]
async fn flux() {
    assert_eq!(told(Dialect::Flux, "deepgram_flux", "").await, said());
}

#[tokio::test]
async fn flux_whose_turns_we_end() {
    assert_eq!(told(Dialect::Flux, "deepgram_flux", "hearing.turn_end = \"silence\"").await, said());
}

#[tokio::test]
async fn gradium() {
    assert_eq!(told(Dialect::Gradium, "gradium", "").await, said());
}

#[tokio::test]
async fn gradium_whose_probabilities_end_turns() {
    assert_eq!(told(Dialect::Gradium, "gradium", "hearing.turn_end = \"vendor\"").await, said());
}
