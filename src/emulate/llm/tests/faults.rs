//! Each fault does what its name says, and nothing else.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_status_is_an_error_as_often_as_it_may() {
    let mut rig = Rig::faulty(&["status=429:1"]);
    let mut client = rig.client().await;
    let response = client.post(&streamed("x")).await;
    assert_eq!(response.status(), 429);
    assert_eq!(response.headers()["retry-after"], "1");
    assert_eq!(json_of(response).await["error"]["code"], "rate_limit_exceeded");
    assert_eq!(rig.how_it_ended().await, (End::Refused, 0));
    assert_eq!(rig.ended().await.messages.len(), 1);
    assert!(said(client.post(&streamed("x")).await).await.0.is_done);

    let response = Rig::faulty(&["status"]).client().await.post(&request("x")).await;
    assert_eq!((response.status().as_u16(), response.headers().get("retry-after")), (500, None));
    assert_eq!(json_of(response).await["error"]["type"], "server_error");
}

#[tokio::test(start_paused = true)]
async fn nothing_comes_or_nothing_more() {
    for (fault, status, tokens) in [("hang", None, 0), ("silent", Some(200), 0), ("stall=2", Some(200), 2)] {
        let mut rig = Rig::faulty(&[fault]);
        let mut client = rig.client().await;
        let waiting = async {
            let response = client.sender.send_request(chat(&streamed("x"))).await.unwrap();
            let (status, mut body, mut text) = (response.status(), response.into_body(), String::new());
            loop {
                match timeout(LIMIT, body.frame()).await {
                    Ok(frame) => text += std::str::from_utf8(&frame.unwrap().unwrap().into_data().unwrap()).unwrap(),
                    Err(_) => return (status.as_u16(), Said::of(&text), body),
                }
            }
        };
        let got = timeout(2 * LIMIT, waiting).await.ok();
        assert_eq!(got.as_ref().map(|(status, ..)| *status), status, "{fault}");
        if let Some((_, said, _)) = &got {
            assert_eq!(said.text, ["", "", "One two"][tokens], "{fault}");
            assert!(!said.is_done && said.finish.is_none() && said.error.is_none());
        }
        assert_eq!(rig.shared.journal.last().unwrap().ended, None);
        drop((got, client));
        // Without a write that could fail, it is the closing that is seen.
        assert_eq!(rig.how_it_ended().await, (End::Cancelled, u32::try_from(tokens).unwrap()), "{fault}");
        assert_eq!(rig.ended().await.status, status);
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_comes_in_the_middle_of_the_stream() {
    for fault in ["error_midway=4", "error_event=4"] {
        let mut rig = Rig::faulty(&[fault]);
        let mut client = rig.client().await;
        let response = client.post(&streamed("x")).await;
        assert_eq!(response.status(), 200);
        let (said, body, is_whole) = said(response).await;
        assert_eq!((said.text.as_str(), is_whole, said.is_done), ("One two three four", true, false));
        assert_eq!((said.error.unwrap()["type"].as_str(), said.finish), (Some("server_error"), None));
        assert_eq!(body.contains("event: error\ndata: {\"error\""), fault.contains("event"));
        assert_eq!(rig.how_it_ended().await, (End::Failed, 4));
    }
}

#[tokio::test(start_paused = true)]
async fn the_connection_is_cut_after_what_was_sent() {
    for (tokens, text) in [(0, ""), (3, "One two three"), (11, "One two three four five six seven eight nine ten.")] {
        let mut rig = Rig::faulty(&[&format!("drop={tokens}")]);
        let (said, _, is_whole) = said(rig.client().await.post(&streamed("x")).await).await;
        assert_eq!(said.text, text);
        assert!(!is_whole && said.finish.is_none());
        assert_eq!(rig.how_it_ended().await, (End::Failed, tokens));
    }
    // An answer too short for it is left alone, and does not use it up.
    let mut rig = Rig::faulty(&["drop=12:1"]);
    let mut client = rig.client().await;
    assert!(said(client.post(&streamed("x")).await).await.0.is_done);
    assert!(!said(client.post(&booking()).await).await.2);
    // Half of the JSON, if there is no stream.
    let mut rig = Rig::faulty(&["drop=1"]);
    let (frames, is_whole) = frames(rig.client().await.post(&request("x")).await).await;
    assert!(!is_whole && frames.len() == 1 && serde_json::from_slice::<Value>(&frames[0].1).is_err());
}

#[tokio::test(start_paused = true)]
async fn a_tool_call_is_cut_in_its_arguments() {
    let mut rig = Rig::faulty(&["drop_in_tool:1"]);
    let mut client = rig.client().await;
    // No call, no fault.
    assert!(said(client.post(&streamed("x")).await).await.0.is_done);
    let (said, _, is_whole) = said(client.post(&booking()).await).await;
    assert_eq!((said.text.as_str(), said.calls[0].2.as_str()), ("Yes.", "{\"day\":\"Tuesday\",\""));
    assert!(!is_whole && said.finish.is_none());
    assert_eq!(rig.how_it_ended().await, (End::Failed, 8));
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_empty_or_has_no_end_mark() {
    let mut rig = Rig::faulty(&["empty"]);
    let mut client = rig.client().await;
    let (empty, ..) = said(client.post(&booking()).await).await;
    let finished = Said { finish: Some("stop".to_owned()), is_done: true, ..Said::default() };
    assert_eq!(empty, finished);
    assert_eq!(json_of(client.post(&request("x")).await).await["choices"][0]["message"]["content"], "");

    let (said, body, is_whole) = said(Rig::faulty(&["no_done"]).client().await.post(&streamed("x")).await).await;
    assert!(is_whole && !said.is_done && !body.contains("DONE"));
    assert_eq!(said.finish.as_deref(), Some("stop"));
}

#[tokio::test(start_paused = true)]
async fn the_body_is_split_anywhere() {
    let whole = said(Rig::faulty(&[]).client().await.post(&streamed("caf\u{e9}")).await).await.1;
    assert!(!whole.is_ascii());
    for bytes in [1, 2, 7, 100] {
        let mut rig = Rig::faulty(&[&format!("split={bytes}")]);
        let (frames, is_whole) = frames(rig.client().await.post(&streamed("caf\u{e9}")).await).await;
        let (last, full) = frames.split_last().unwrap();
        assert!(is_whole && full.iter().all(|(_, piece)| piece.len() == bytes) && last.1.len() <= bytes);
        let together: Vec<u8> = frames.iter().flat_map(|(_, piece)| piece.to_vec()).collect();
        assert_eq!(String::from_utf8(together).unwrap(), whole);
        let inside = full.iter().any(|(_, piece)| std::str::from_utf8(piece).is_err());
        assert!(inside || bytes > 2, "no character was cut");
        let exchange = rig.ended().await;
        assert_eq!(exchange.tokens_sent, exchange.tokens_planned);
    }
    // Tokens count when their last byte is out: 40 bytes are less than the first of them.
    let mut rig = Rig::faulty(&["split=40"]);
    let mut client = rig.client().await;
    let mut body = client.post(&streamed("x")).await.into_body();
    body.frame().await.unwrap().unwrap();
    drop((body, client));
    assert_eq!(rig.how_it_ended().await.0, End::Cancelled);
    assert!(rig.ended().await.tokens_sent < 2);
}

#[tokio::test(start_paused = true)]
async fn legal_oddities_change_nothing_that_is_said() {
    let (plain, plain_body, _) = said(Rig::faulty(&[]).client().await.post(&booking()).await).await;
    assert!(plain_body.contains("\"index\":0,\"id\":") || plain_body.contains("\"id\":\"call_1_0\",\"index\":0"));
    let (crlf, body, _) = said(Rig::faulty(&["crlf"]).client().await.post(&booking()).await).await;
    assert_eq!(crlf, plain);
    assert_eq!(body.matches('\n').count(), body.matches("\r\n").count());
    assert!(body.ends_with("data: [DONE]\r\n\r\n"));
    let (noisy, body, _) = said(Rig::faulty(&["noise"]).client().await.post(&booking()).await).await;
    assert_eq!(noisy, plain);
    assert!(body.contains("\n: ping\n") && body.contains("\"choices\":[],") && body.contains("reasoning_content"));
    let mut rig = Rig::faulty(&["whole_tool_call"]);
    let (whole, body, _) = said(rig.client().await.post(&booking()).await).await;
    assert_eq!(whole, plain);
    let call = body.split("\"tool_calls\":[").nth(1).unwrap().split(']').next().unwrap();
    assert!(!call.contains("index") && call.contains("Tuesday"), "{call}");
    assert_eq!(rig.how_it_ended().await, (End::Complete, 14));
}

#[tokio::test(start_paused = true)]
async fn a_rule_has_its_own_faults() {
    let rules = vec![
        Rule::hearing(&["bad"]).says("One two three four.").fault("drop=2:1".parse().unwrap()),
        Rule::hearing(&[]).says("Fine."),
    ];
    let mut rig = Rig::new(Settings { script: Script::new(rules).unwrap(), ..settings() });
    assert!(said(rig.client().await.post(&streamed("good")).await).await.2);
    assert!(!said(rig.client().await.post(&streamed("bad")).await).await.2);
    assert!(said(rig.client().await.post(&streamed("bad")).await).await.2);
    let wrong = |faults| Shared::new(Settings { faults, ..settings() });
    assert!(matches!(wrong(vec!["split=0".parse().unwrap()]), Err(ServerError::Fault { .. })));
}
