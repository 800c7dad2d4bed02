//! Agents: a model, and its tools.

use super::*;

/// The least that an agent with a model needs, and `more`.
fn llm(more: &str) -> Input {
    file(&format!(
        "hearing.provider = \"deepgram\"\nhearing.deepgram.api_key = \"d\"\nagent.kind = \"llm\"\n[agent.llm]\nurl = \"http://localhost:9000/v1\"\nmodel = \"m\"\n{more}"
    ))
}

#[test]
fn tools_of_a_model_are_sections() {
    let input = llm("extra = { top_p = 0.5, stop = [\"x\"], nested = { a = 1, b = true } }\n\
         [[agent.llm.tools]]\nname = \"weather\"\ndescription = \"weather in a city\"\nurl = \"https://a.b/weather\"\n\
         token = \"0012\"\ntimeout_ms = 500\nfiller = \"I will look.\"\nfiller_after_ms = 0\n\
         [agent.llm.tools.parameters]\ntype = \"object\"\nrequired = [\"city\"]\n\
         [agent.llm.tools.parameters.properties]\ncity = { type = \"string\" }\n\
         [[agent.llm.tools]]\nname = \"date\"\ndescription = \"today\"\nurl = \"http://127.0.0.1:1/\"\n");
    let loaded = good(&input);
    assert_eq!(loaded.warnings, []);
    let llm = &loaded.config.agent.llm;
    let extra = serde_json::json!({ "top_p": 0.5, "stop": ["x"], "nested": { "a": 1, "b": true } });
    assert_eq!(serde_json::Value::from(llm.extra.clone()), extra);
    let [weather, date] = &llm.tools[..] else { panic!("{:?}", llm.tools) };
    assert_eq!((weather.token.as_ref().unwrap().expose(), weather.timeout), ("0012", Duration::from_millis(500)));
    assert_eq!((weather.filler.as_str(), weather.filler_after), ("I will look.", Duration::ZERO));
    let schema = serde_json::json!({
        "type": "object", "required": ["city"], "properties": { "city": { "type": "string" } }
    });
    assert_eq!(serde_json::Value::from(weather.parameters.clone()), schema);
    assert_eq!((date.timeout, date.filler.as_str()), (Duration::from_secs(10), ""));
    assert_eq!(date.parameters["type"], "object");
    let line = |key| loaded.summary.iter().find(|setting| setting.key == key).unwrap();
    assert_eq!(line("agent.llm.tools").value, "tools weather, date");
    assert!(!format!("{loaded:?}").contains("0012"));
}

#[test]
fn every_mistake_in_a_tool_is_told_at_its_line() {
    let lines = bad(&llm("extra = { top_p = nan }\n[agent.llm.transfers]\nsales = \"555\"\n\
         [[agent.llm.tools]]\nname = \"we ather\"\nurl = \"ftp://a.b\"\ntimeout_ms = 5\ncolour = \"red\"\n\
         parameters = { type = \"string\" }\ntoken = \"hunter2 \"\n\
         [[agent.llm.tools]]\nname = \"end_call\"\ndescription = \"d\"\nurl = \"https://a.b\"\n\
         [[agent.llm.tools]]\nname = \"a\"\ndescription = \"d\"\nurl = \"https://a.b\"\n\
         [[agent.llm.tools]]\nname = \"a\"\ndescription = \"d\"\nurl = \"https://a.b\"\n"));
    let expected = [
        "settings.toml line 7: agent.llm.extra holds a number that JSON does not have",
        "settings.toml line 9: agent.llm.transfers.sales is nobody who can be called",
        "settings.toml line 10: agent.llm.tools[1].colour is not a key of a tool",
        "settings.toml line 10: agent.llm.tools[1].name is \"we ather\"",
        "settings.toml line 10: agent.llm.tools[1].description is missing",
        "settings.toml line 10: agent.llm.tools[1].url is wrong",
        "settings.toml line 10: agent.llm.tools[1].parameters is not the JSON schema of an object",
        "settings.toml line 10: agent.llm.tools[1].token begins or ends with white space",
        "settings.toml line 10: agent.llm.tools[1].timeout_ms is 5",
        "settings.toml line 17: agent.llm.tools[2].name is the name of a tool of this gateway",
        "settings.toml line 25: agent.llm.tools[4].name is the name of another tool, too",
    ];
    assert_eq!(lines.len(), expected.len(), "{lines:#?}");
    for (line, expected) in lines.iter().zip(expected) {
        assert!(line.starts_with(expected), "{line}\nis not\n{expected}");
        assert!(!line.contains("hunter2"), "{line}");
    }
}

#[test]
fn a_model_is_chosen_whole_or_not_at_all() {
    let kind = ("TRUNKLINE__AGENT__KIND", "llm");
    let model = ("TRUNKLINE__AGENT__LLM__MODEL", "m");
    let hearing = [("TRUNKLINE__HEARING__PROVIDER", "deepgram"), ("DEEPGRAM_API_KEY", "d")];
    let with_hearing = |pairs: &[(&str, &str)]| environment(&[pairs, &hearing].concat());
    let keys = |pairs: &[(&str, &str)]| -> Vec<String> {
        load(&with_hearing(pairs)).expect_err("mistakes").0.into_iter().map(|problem| problem.key).collect()
    };
    assert_eq!(keys(&[kind]), ["agent.llm.model", "agent.llm.api_key"]);
    assert_eq!(keys(&[kind, model]), ["agent.llm.api_key"]);
    let ours = ("TRUNKLINE__AGENT__LLM__EXTRA", r#"{"stream":false,"top_p":1}"#);
    assert_eq!(keys(&[kind, model, ("OPENAI_API_KEY", "k"), ours]), ["agent.llm.extra"]);
    let openai = ("OPENAI_API_KEY", "k");
    assert_eq!(good(&with_hearing(&[kind, model, openai])).warnings, []);
    let deaf = good(&environment(&[kind, model, openai])).warnings;
    assert_eq!(deaf.iter().map(|warning| warning.key.as_str()).collect::<Vec<_>>(), ["hearing.provider"]);
    // A server of one's own needs no key, and what is sent to it openly is warned of.
    assert_eq!(good(&llm("")).warnings, []);
    let url = ("TRUNKLINE__AGENT__LLM__URL", "http://model.example.com/v1");
    let warned = |pairs: &[(&str, &str)]| -> Vec<String> {
        good(&with_hearing(pairs)).warnings.into_iter().map(|warning| warning.key).collect()
    };
    assert_eq!(warned(&[kind, model, url]), ["agent.llm.url"]);
    let sales = ("TRUNKLINE__AGENT__LLM__TRANSFERS__SALES", "+15550100001");
    assert_eq!(warned(&[kind, model, openai, sales]), ["agent.llm.transfers"]);
}
