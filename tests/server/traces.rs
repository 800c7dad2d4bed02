//! Traces of calls, as a collector of OpenTelemetry receives them.

use std::time::Duration;

use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use serde_json::json;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use trunkline::emulate::{cartesia, stt};

use crate::events::speak;
use crate::support::collector::{Collector, Mood, attributes};
use crate::support::gateway::{Gateway, Vendor};
use crate::support::until;

const SECOND: &str = "Zebras wander slowly along the winding river, and nobody knows where they are going this time.";
const PARTS: [&str; 6] = ["hearing", "thinking", "gathering", "speaking", "sending", "line"];

fn of_name<'a>(spans: &'a [Span], name: &str) -> Vec<&'a Span> {
    spans.iter().filter(|span| span.name == name).collect()
}

fn event_names(span: &Span) -> Vec<&str> {
    span.events.iter().map(|event| event.name.as_str()).collect()
}

/// Whoever writes down what the caller says, and the settings that lead there.
async fn recogniser() -> (String, JoinSet<()>) {
    let server = stt::Server::bind("127.0.0.1:0".parse().unwrap(), stt::Settings::default()).await.unwrap();
    let url = server.url_of(stt::Dialect::Nova);
    let mut serving = JoinSet::new();
    serving.spawn(async move { server.run(CancellationToken::new()).await });
    (format!("hearing = {{ provider = \"deepgram\", deepgram = {{ url = \"{url}\", api_key = \"any\" }} }}\n"), serving)
}

#[tokio::test]
async fn a_call_is_a_trace_whose_parts_add_up_and_hold_nothing_private() {
    let collector = Collector::start(Mood::BusyOnce).await;
    let (hearing, _serving) = recogniser().await;
    let toml = format!(
        "{hearing}server.drain_s = 1\nagent.kind = \"llm\"\nspeech.phrase_cache_mib = 0\n\
         agent.llm = {{ url = \"{0}/v1\", model = \"oracle-7\", greeting = \"\" }}\n\
         otlp = {{ url = \"{0}\", service_name = \"reception\", headers = {{ x-api-key = \"hunter2\" }} }}\n",
        collector.url
    );
    let mut gateway = Gateway::open(&toml).await;
    let mut phone = gateway.dial().await.unwrap();
    phone.start("CA1", &[("trunkline.from", "+15550100001")]);
    gateway.is_listed("CA1").await;
    speak(&phone, "question").await;
    // The caller is silent, which audio has to say.
    until("the answer", async || {
        phone.hush();
        let turns = gateway.get("/v1/calls/CA1").await.json()["turns"].clone();
        (turns[0]["outcome"] == "heard").then_some(())
    })
    .await;
    gateway.say("CA1", json!({ "text": SECOND })).await;
    let before = phone.seen().frames;
    phone.sees("speech", |seen| seen.frames > before + 50).await;
    phone.press('5');
    phone.sees("the clear", |seen| seen.clears >= 1).await;
    // The call is still on when the gateway stops: what is told of it is sent all the same.
    gateway.stop.cancel();
    gateway.stopped().await;

    let spans = collector.spans();
    let roots = of_name(&spans, "call");
    assert_eq!(roots.len(), 1, "{spans:#?}");
    let root = roots[0];
    assert!(root.parent_span_id.is_empty());
    assert!(spans.iter().all(|span| span.trace_id == root.trace_id));
    let about = attributes(root);
    assert_eq!(
        (about["gen_ai.conversation.id"].as_str(), about["trunkline.call.reason"].as_str()),
        ("CA1", "sent_away")
    );
    assert_eq!((about["gen_ai.request.model"].as_str(), about["trunkline.hearing"].as_str()), ("oracle-7", "deepgram"));
    assert_eq!(event_names(root), ["draining"]);

    let turns = of_name(&spans, "turn");
    let told: Vec<_> = turns.iter().map(|turn| attributes(turn)).collect();
    for turn in &turns {
        assert_eq!(turn.parent_span_id, root.span_id);
        // A frame may be judged a moment before it is known.
        assert!(turn.start_time_unix_nano >= root.start_time_unix_nano, "{turn:?}");
        assert!(turn.end_time_unix_nano <= root.end_time_unix_nano + 50_000_000, "{turn:?} {root:?}");
    }
    let (answer, cut) = (turns[0], turns[1]);
    // The goodbye at the end of the drain is the gateway's own.
    let own: Vec<bool> = told.iter().map(|turn| turn["trunkline.turn.announced"] == "true").collect();
    assert!(own.starts_with(&[false, false]) && own.ends_with(&[true]), "{told:#?}");
    assert_eq!(attributes(answer)["trunkline.turn.outcome"], "heard");
    assert_eq!(event_names(answer), ["first_audio"]);
    assert_eq!(attributes(cut)["trunkline.turn.cause"], "dtmf");
    assert_eq!(event_names(cut), ["first_audio", "interrupted"]);

    let mut at = answer.start_time_unix_nano;
    for part in PARTS {
        let found = of_name(&spans, part);
        assert_eq!(found.len(), 1, "{part}");
        assert_eq!((&found[0].parent_span_id, found[0].start_time_unix_nano), (&answer.span_id, at), "{part}");
        assert!(found[0].end_time_unix_nano >= at, "{part}");
        at = found[0].end_time_unix_nano;
    }
    assert!(at <= answer.end_time_unix_nano && at > answer.start_time_unix_nano);
    assert_eq!(spans.len(), 1 + turns.len() + PARTS.len());

    let headers = collector.headers();
    assert!(headers.iter().all(|headers| headers["x-api-key"] == "hunter2"));
    assert!(headers.iter().all(|headers| headers["content-type"] == "application/x-protobuf"));
    let all = format!("{:?}", collector.requests());
    for part in ["reception", "service.version", "trunkline"] {
        assert!(all.contains(part), "{part}");
    }
    for secret in ["15550100001", "Zebras", "zebras", "armalade", "hunter2", "opening"] {
        assert!(!all.contains(secret), "{secret} in {all}");
    }
    // Whoever is asked on behalf of the call can tell which one.
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let asked = collector.model_headers();
    assert!(!asked.is_empty());
    for headers in asked {
        assert_eq!(headers["traceparent"], format!("00-{}-{}-01", hex(&root.trace_id), hex(&root.span_id)));
    }
    let sent = gateway.node.meter().render();
    assert!(sent.contains(&format!("trunkline_otlp_spans_total{{kind=\"sent\"}} {}", spans.len())), "{sent}");
    assert!(sent.contains("trunkline_otlp_spans_total{kind=\"dropped\"} 0"));
}

#[tokio::test]
async fn a_voice_that_fails_is_seen_in_its_turn() {
    let collector = Collector::start(Mood::Willing).await;
    let vendor =
        Vendor::start(cartesia::Settings { voices: Some(vec!["another".to_owned()]), ..Default::default() }).await;
    let chain = vendor.toml.replace("[\"cartesia\"]", "[\"cartesia\", \"local\"]");
    let toml = format!("{chain}otlp.url = \"{}/v1/traces\"\n", collector.url);
    let gateway = Gateway::open(&toml).await;
    let phone = gateway.call("CA1").await;
    assert_eq!(gateway.say_and_wait("CA1", json!({ "text": "Hello there." })).await.json()["outcome"], "heard");
    phone.stop();
    until("the trace", async || (!of_name(&collector.spans(), "call").is_empty()).then_some(())).await;
    let spans = collector.spans();
    let turn = of_name(&spans, "turn")[0];
    assert!(event_names(turn).contains(&"failover"), "{turn:?}");
    assert_eq!(attributes(turn)["trunkline.voices"], "cartesia,local");
    assert_eq!(turn.status.as_ref().unwrap().code, StatusCode::Unset as i32);
}

#[tokio::test]
async fn a_collector_that_refuses_or_hangs_costs_spans_and_no_call() {
    let refusing = Collector::start(Mood::Refusing).await;
    let gateway = Gateway::open(&format!("otlp.url = \"{}\"\n", refusing.url)).await;
    let phone = gateway.call("CA1").await;
    assert_eq!(gateway.say_and_wait("CA1", json!({ "text": "Hello." })).await.json()["outcome"], "heard");
    phone.stop();
    until("the count", async || {
        (gateway.metric("trunkline_otlp_spans_total{kind=\"failed\"}").await == 2.0).then_some(())
    })
    .await;

    let picky = Collector::start(Mood::Picky).await;
    let gateway = Gateway::open(&format!("otlp.url = \"{}\"\n", picky.url)).await;
    let phone = gateway.call("CA1").await;
    assert_eq!(gateway.say_and_wait("CA1", json!({ "text": "Hello." })).await.json()["outcome"], "heard");
    phone.stop();
    let spans = async |kind: &str| gateway.metric(&format!("trunkline_otlp_spans_total{{kind=\"{kind}\"}}")).await;
    until("both spans", async || (spans("failed").await + spans("sent").await == 2.0).then_some(())).await;
    assert!(spans("failed").await >= 1.0);

    let mute = Collector::start(Mood::Mute).await;
    let mut gateway = Gateway::open(&format!("otlp = {{ url = \"{}\", queue_spans = 64 }}\n", mute.url)).await;
    let _phone = gateway.call("CA1").await;
    let drop_turns = async |turns: usize| {
        for _ in 0..turns {
            gateway.say("CA1", json!({ "text": "Never heard." })).await;
        }
        gateway.api("POST", "/v1/calls/CA1/clear").send(gateway.address).await;
    };
    drop_turns(1).await;
    // Now its batch is under way, and what comes has to wait.
    until("the request", async || (!mute.headers().is_empty()).then_some(())).await;
    drop_turns(100).await;
    let lost = gateway.metric("trunkline_otlp_spans_total{kind=\"dropped\"}").await;
    assert!((1.0..=101.0 - 64.0).contains(&lost), "{lost}");
    gateway.api("DELETE", "/v1/calls/CA1").send(gateway.address).await;
    gateway.is_gone("CA1").await;
    let begun = tokio::time::Instant::now();
    gateway.stop.cancel();
    gateway.stopped().await;
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_call_that_is_not_sampled_is_not_sent_and_says_so_to_those_who_are_asked() {
    let collector = Collector::start(Mood::Willing).await;
    let toml = format!(
        "agent.kind = \"llm\"\nagent.llm = {{ url = \"{0}/v1\", model = \"oracle-7\", greeting_from_model = true }}\n\
         otlp = {{ url = \"{0}\", sample = 0 }}\n",
        collector.url
    );
    let mut gateway = Gateway::open(&toml).await;
    let phone = gateway.call("CA1").await;
    until("the model", async || (!collector.model_headers().is_empty()).then_some(())).await;
    phone.stop();
    gateway.is_gone("CA1").await;
    gateway.stop.cancel();
    gateway.stopped().await;
    assert_eq!(collector.headers().len(), 0);
    let headers = collector.model_headers();
    let parent = headers[0]["traceparent"].to_str().unwrap();
    assert!(parent.starts_with("00-") && parent.ends_with("-00") && parent.len() == 55, "{parent}");
}
