//! What the API is when nothing goes wrong.

use super::*;

#[tokio::test(start_paused = true)]
async fn an_answer_is_streamed_at_its_pace() {
    let mut rig = Rig::new(settings());
    let mut client = rig.client().await;
    let began = Instant::now();
    let response = client.post(&streamed("count")).await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "text/event-stream; charset=utf-8");
    assert_eq!(response.headers()["x-request-id"], "req_1");
    assert_eq!(began.elapsed(), Duration::ZERO);
    let (frames, is_whole) = frames(response).await;
    assert!(is_whole);
    // Role, eleven tokens (the last is the full stop), the end, `[DONE]`.
    let texts: Vec<&str> = frames.iter().map(|(_, bytes)| std::str::from_utf8(bytes).unwrap()).collect();
    assert_eq!(texts.len(), 14, "{texts:?}");
    assert!(texts.iter().all(|text| text.starts_with("data: ") && text.ends_with("\n\n")));
    let first: Value = serde_json::from_str(texts[0].trim_start_matches("data: ")).unwrap();
    assert_eq!(first["id"], "chatcmpl-1");
    assert_eq!(first["choices"][0]["delta"], json!({"role": "assistant", "content": "", "refusal": null}));
    assert_eq!(first.get("usage"), None);
    let millis: Vec<u128> = frames.iter().map(|(at, _)| at.as_millis()).collect();
    assert_eq!(millis[..4], [150, 150, 165, 180]);
    assert_eq!(millis[11..], [300, 300, 300]);
    let said = Said::of(&texts.concat());
    assert_eq!(said.text, "One two three four five six seven eight nine ten.");
    assert_eq!((said.finish.as_deref(), said.is_done), (Some("stop"), true));
    assert_eq!(rig.how_it_ended().await, (End::Complete, 11));
}

#[tokio::test(start_paused = true)]
async fn tool_calls_come_in_pieces_and_their_results_are_answered() {
    let mut rig = Rig::new(settings());
    let mut client = rig.client().await;
    let (said, body, _) = said(client.post(&booking()).await).await;
    assert_eq!(said.text, "Yes.");
    assert_eq!(said.finish.as_deref(), Some("tool_calls"));
    let [(id, name, arguments)] = said.calls.as_slice() else { panic!("{said:?}") };
    assert_eq!((id.as_str(), name.as_str()), ("call_1_0", "look"));
    assert_eq!(arguments, r#"{"day":"Tuesday","time":"10:00"}"#);
    assert_eq!(body.matches("\"tool_calls\":[").count(), 13, "{body}");

    let mut next = booking();
    let call = json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}});
    let messages = next["messages"].as_array_mut().unwrap();
    messages.push(json!({"role": "assistant", "content": "Yes.", "tool_calls": [call]}));
    messages.push(json!({"role": "tool", "tool_call_id": id, "content": "free"}));
    let answer = super::said(client.post(&next).await).await.0;
    assert_eq!((answer.text.as_str(), answer.calls.len()), ("All right, that is done.", 0));
    // Without the tool on offer the rule does not fit.
    assert!(super::said(client.post(&streamed("book")).await).await.0.text.starts_with("One two"));
    assert_eq!(rig.shared.journal.exchanges().iter().map(|it| it.rule).collect::<Vec<_>>(), [Some(0), None, Some(2)]);
}

#[tokio::test(start_paused = true)]
async fn the_usage_and_the_limit_are_kept() {
    let mut rig = Rig::new(settings());
    let mut client = rig.client().await;
    let counted = with(streamed("count"), json!({"stream_options": {"include_usage": true}, "max_tokens": 4}));
    let (said, body, _) = said(client.post(&counted).await).await;
    assert_eq!((said.text.as_str(), said.finish.as_deref()), ("One two three four", Some("length")));
    let usage = said.usage.unwrap();
    assert_eq!(usage["completion_tokens"], 4);
    assert_eq!(usage["total_tokens"], usage["prompt_tokens"].as_u64().unwrap() + 4);
    assert_eq!(body.matches("\"usage\":null").count(), 6);
    let cut = super::said(client.post(&with(booking(), json!({"max_tokens": 5}))).await).await.0;
    assert_eq!((cut.calls[0].2.as_str(), cut.finish.as_deref()), ("{\"day\":\"", Some("length")));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_not_streamed_comes_at_once() {
    let mut rig = Rig::new(settings());
    let mut client = rig.client().await;
    let began = Instant::now();
    let completion = json_of(client.post(&request("count")).await).await;
    assert_eq!(began.elapsed().as_millis(), 150 + 10 * 15);
    assert_eq!(completion["object"], "chat.completion");
    let choice = &completion["choices"][0];
    assert_eq!(choice["message"]["content"], "One two three four five six seven eight nine ten.");
    assert_eq!((&choice["finish_reason"], choice["message"].get("tool_calls")), (&json!("stop"), None));
    assert_eq!(completion["usage"]["completion_tokens"], 11);
    let mut request = booking();
    request["stream"] = json!(false);
    let choice = json_of(client.post(&request).await).await["choices"][0].take();
    assert_eq!(choice["message"]["tool_calls"][0]["function"]["name"], "look");
    assert_eq!((&choice["finish_reason"], &choice["message"]["content"]), (&json!("tool_calls"), &json!("Yes.")));
    assert_eq!(rig.how_it_ended().await, (End::Complete, 14));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_is_seen_between_two_tokens() {
    let settings = Settings { token: Duration::from_secs(1), ..settings() };
    let mut rig = Rig::new(settings);
    let mut client = rig.client().await;
    let mut body = client.post(&streamed("count")).await.into_body();
    // The role and three tokens.
    for _ in 0..4 {
        body.frame().await.unwrap().unwrap();
    }
    sleep(Duration::from_millis(500)).await;
    let left = Instant::now();
    drop((body, client));
    assert_eq!(rig.how_it_ended().await, (End::Cancelled, 3));
    assert!(left.elapsed() < Duration::from_millis(100), "it was noticed with the next token only");
    let exchange = rig.ended().await;
    assert_eq!((exchange.text_sent().as_str(), exchange.tokens_planned), ("One two three", 11));
    assert!(!format!("{exchange:?}").contains("three"));
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_names_its_parameter() {
    let mut rig = Rig::new(Settings { models: Some(vec!["m".to_owned()]), ..settings() });
    let mut client = rig.client().await;
    for (body, status, param) in [
        (json!({"model": "m"}), 400, json!("messages")),
        (json!({"model": "m", "messages": [{"role": "robot", "content": "x"}]}), 400, json!("messages[0].role")),
        (with(request("x"), json!({"model": "other"})), 404, json!("model")),
    ] {
        let response = client.post(&body).await;
        assert_eq!(response.status(), status);
        let error = json_of(response).await["error"].take();
        assert_eq!((&error["param"], &error["type"]), (&param, &json!("invalid_request_error")));
        let exchange = rig.ended().await;
        assert_eq!((exchange.status, exchange.refused_param.as_deref()), (Some(status), param.as_str()));
    }
    let mut plain = chat(&request("x"));
    plain.headers_mut().insert("content-type", "text/plain".parse().unwrap());
    assert_eq!(client.send(plain).await.unwrap().status(), 400);
    let long = "x".repeat(1024 * 1024);
    assert_eq!(rig.client().await.post(&request(&long)).await.status(), 413);
    // The script goes on as if nothing had been.
    assert_eq!(rig.client().await.post(&request("x")).await.status(), 200);
}

#[tokio::test(start_paused = true)]
async fn a_key_is_asked_for_if_there_is_one() {
    let mut rig = Rig::new(Settings { api_key: Some(ApiKey::new("0001")), ..settings() });
    let mut client = rig.client().await;
    for (header, status) in [(None, 401), (Some("Bearer 0002"), 401), (Some("0001"), 401), (Some("bearer 0001"), 200)] {
        for mut request in [chat(&request("x")), get("/v1/models"), get("/journal")] {
            if let Some(header) = header {
                request.headers_mut().insert("authorization", header.parse().unwrap());
            }
            let response = client.send(request).await.unwrap();
            assert_eq!(response.status(), status, "{header:?}");
            let body = json_of(response).await;
            assert_eq!(body["error"]["code"] == "invalid_api_key", status == 401);
        }
    }
    assert!(!format!("{:?}", rig.shared.settings).contains("0001"));
}

#[tokio::test(start_paused = true)]
async fn models_and_the_journal_can_be_fetched() {
    let mut rig = Rig::new(settings());
    let mut client = rig.client().await;
    let models = json_of(client.send(get("/v1/models")).await.unwrap()).await;
    assert_eq!((&models["object"], &models["data"][0]["id"]), (&json!("list"), &json!(MODEL)));
    assert_eq!(json_of(client.send(get(&format!("/v1/models/{MODEL}"))).await.unwrap()).await["id"], MODEL);
    said(client.post(&streamed("count")).await).await;
    let journal = json_of(client.send(get("/journal")).await.unwrap()).await;
    let exchange = &journal["exchanges"][0];
    assert_eq!((&journal["begun"], &exchange["ended"]["how"]), (&json!(1), &json!("complete")));
    assert_eq!(exchange["messages"], streamed("count")["messages"]);
    assert_eq!(exchange["text_sent"], "One two three four five six seven eight nine ten.");
    for (request, status) in [
        (get("/v1/models/other"), 404),
        (get("/v1/chat/completions"), 405),
        (get("/chat/completions"), 404),
        (get("/"), 404),
        (Request::post("/journal").body(Full::default()).unwrap(), 405),
    ] {
        let response = client.send(request).await.unwrap();
        assert_eq!(response.status(), status);
        assert!(json_of(response).await["error"]["message"].is_string());
    }
}
