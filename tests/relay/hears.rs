//! What callers say, written down by the scripted recogniser, on its way to the app.

use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use trunkline::emulate::stt;

use crate::app::App;
use crate::support::gateway::Gateway;
use crate::voice::{QUESTION, hush, speak};

const SAID: &str = "Which folder should I save the message to?";

/// The recogniser, and the settings that lead to it.
struct Recogniser {
    toml: String,
    _serving: JoinSet<()>,
}

impl Recogniser {
    async fn start() -> Self {
        let server = stt::Server::bind("127.0.0.1:0".parse().unwrap(), stt::Settings::default()).await.unwrap();
        let url = server.url_of(stt::Dialect::Nova);
        let mut serving = JoinSet::new();
        serving.spawn(server.run(CancellationToken::new()));
        let toml = format!("[hearing]\nprovider = \"deepgram\"\ndeepgram = {{ url = \"{url}\", api_key = \"k\" }}\n");
        Recogniser { toml, _serving: serving }
    }
}

#[tokio::test]
async fn what_the_caller_says_is_told_once_it_is_over() {
    let (app, recogniser) = (App::start().await, Recogniser::start().await);
    let toml = format!("{}{}", app.toml("transcription_language = \"en-GB\""), recogniser.toml);
    let gateway = Gateway::open(&toml).await;
    let phone = gateway.call("CA1").await;
    let (mut session, _) = app.begin().await;
    speak(&phone, QUESTION).await;
    hush(&phone, 2_000).await;
    let prompt = session.next("the prompt").await;
    assert_eq!(prompt, json!({"type": "prompt", "voicePrompt": SAID, "lang": "en-GB", "last": true}));
    phone.stop();
    assert_eq!(session.closed().await.2, Vec::<Value>::new());
}

#[tokio::test]
async fn an_interruption_is_told_before_the_words_that_made_it() {
    let (app, recogniser) = (App::start().await, Recogniser::start().await);
    let relay = "welcome_greeting = \"This goes on and on, so that whoever calls has something to speak into.\"";
    let gateway = Gateway::open(&format!("{}{}", app.toml(relay), recogniser.toml)).await;
    let mut phone = gateway.call("CA1").await;
    let (mut session, _) = app.begin().await;
    phone.sees("half a second of the greeting", |seen| seen.frames > 30).await;
    speak(&phone, QUESTION).await;
    hush(&phone, 2_000).await;
    assert_eq!(session.next("the interruption").await["type"], "interrupt");
    assert_eq!(session.next("the prompt").await["voicePrompt"], SAID);
}

#[tokio::test]
async fn partial_prompts_grow_into_the_last_one() {
    let (app, recogniser) = (App::start().await, Recogniser::start().await);
    let gateway = Gateway::open(&format!("{}{}", app.toml("partial_prompts = true"), recogniser.toml)).await;
    let phone = gateway.call("CA1").await;
    let (mut session, _) = app.begin().await;
    speak(&phone, QUESTION).await;
    hush(&phone, 2_000).await;
    let mut partial = 0;
    loop {
        let prompt = session.next("a prompt").await;
        assert_eq!(prompt["type"], "prompt");
        let text = prompt["voicePrompt"].as_str().unwrap();
        if prompt["last"] == true {
            assert_eq!(text, SAID);
            break;
        }
        assert!(SAID.starts_with(text.trim_end_matches(['.', '?'])), "{text:?}");
        partial += 1;
    }
    assert!(partial >= 2, "{partial} partial prompts");
}

#[tokio::test]
async fn words_over_speech_that_may_not_be_interrupted_are_told_if_wanted() {
    for (relay, is_told) in [("", false), ("report_input_during_agent_speech = \"speech\"", true)] {
        let (app, recogniser) = (App::start().await, Recogniser::start().await);
        let gateway = Gateway::open(&format!("{}{}", app.toml(relay), recogniser.toml)).await;
        let mut phone = gateway.call("CA1").await;
        let (mut session, _) = app.begin().await;
        let line = "You will have to hear me out, since nothing at all may interrupt this line of mine, which goes on and on \
            for a good deal longer than what you have to say to it, whatever that may be, and however loud you are.";
        session.say(json!({"type": "text", "token": line, "last": true, "interruptible": false})).await;
        phone.sees("speech", |seen| seen.frames > 10).await;
        speak(&phone, QUESTION).await;
        hush(&phone, 2_000).await;
        assert_eq!(phone.seen().clears, 0);
        phone.stop();
        let told = session.closed().await.2;
        assert_eq!(told.iter().filter(|message| message["type"] == "prompt").count(), usize::from(is_told), "{told:?}");
    }
}
