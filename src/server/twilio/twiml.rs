//! TwiML, the XML by which a webhook tells Twilio what to do with a call.

use std::io;

use quick_xml::events::{BytesDecl, BytesText, Event};
use quick_xml::{Reader, Writer};

use super::address::{Address, Digits, Kind};

/// Content type of a TwiML answer.
pub const CONTENT_TYPE: &str = "text/xml";

/// A bidirectional media stream.
#[derive(Clone, Copy, Debug)]
pub struct ConnectStream<'a> {
    /// Where Twilio opens the WebSocket: `wss` and without a query, which Twilio would drop.
    pub stream_url: &'a str,
    /// Pairs that come back as `start.customParameters`.
    pub parameters: &'a [(&'a str, &'a str)],
    /// Where Twilio asks what to do after the stream has ended; without it the call ends then.
    pub action: Option<&'a str>,
    /// Where Twilio posts that the stream started, stopped or failed.
    pub status_callback: Option<&'a str>,
}

/// Hands the call to a media stream.
pub fn connect_stream(stream: &ConnectStream<'_>) -> String {
    response(|xml| {
        let mut connect = xml.create_element("Connect");
        if let Some(action) = stream.action {
            connect = connect.with_attribute(("action", text(action).as_str()));
        }
        connect.write_inner_content(|xml| {
            let mut element = xml.create_element("Stream").with_attribute(("url", text(stream.stream_url).as_str()));
            if let Some(url) = stream.status_callback {
                element = element.with_attribute(("statusCallback", text(url).as_str()));
            }
            if stream.parameters.is_empty() {
                return element.write_empty().map(|_| ());
            }
            element.write_inner_content(|xml| {
                for (name, value) in stream.parameters {
                    xml.create_element("Parameter")
                        .with_attribute(("name", text(name).as_str()))
                        .with_attribute(("value", text(value).as_str()))
                        .write_empty()?;
                }
                Ok(())
            })?;
            Ok(())
        })?;
        Ok(())
    })
}

/// Sends the call to the webhook at `url`, which is asked with the same fields.
pub fn redirect(url: &str) -> String {
    response(|xml| xml.create_element("Redirect").write_text_content(BytesText::new(&text(url))).map(|_| ()))
}

/// Lets the carrier's own voice say something, and ends the call.
pub fn say(line: &str) -> String {
    response(|xml| {
        if !line.is_empty() {
            xml.create_element("Say").write_text_content(BytesText::new(&text(line)))?;
        }
        xml.create_element("Hangup").write_empty().map(|_| ())
    })
}

/// Ends the call.
pub fn hang_up() -> String {
    response(|xml| xml.create_element("Hangup").write_empty().map(|_| ()))
}

/// Connects the call with somebody else; it ends when they hang up.
pub fn dial(to: &Address) -> String {
    // What stands in front of a client's name is for requests, not for instructions.
    let (element, address) = match to.kind() {
        Kind::Number => ("Number", to.as_str()),
        Kind::Sip => ("Sip", to.as_str()),
        Kind::Client => ("Client", to.as_str().strip_prefix("client:").unwrap_or_default()),
    };
    response(|xml| {
        xml.create_element("Dial").write_inner_content(|xml| {
            xml.create_element(element).write_text_content(BytesText::new(&text(address))).map(|_| ())
        })?;
        Ok(())
    })
}

/// Presses keys on the call, then sends it to the webhook at `next`.
pub fn play_digits(digits: &Digits, next: &str) -> String {
    response(|xml| {
        xml.create_element("Play").with_attribute(("digits", digits.as_str())).write_empty()?;
        xml.create_element("Redirect").write_text_content(BytesText::new(&text(next))).map(|_| ())
    })
}

/// Not TwiML.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be xml with one <Response> around everything")]
pub struct TwimlError;

/// Checks that somebody else's instructions are XML with `<Response>` as the root; which verbs it holds is the carrier's
/// affair.
///
/// # Errors
/// [`TwimlError`].
pub fn check(twiml: &str) -> Result<(), TwimlError> {
    let mut reader = Reader::from_str(twiml);
    let (mut depth, mut roots) = (0_usize, 0_usize);
    loop {
        let event = reader.read_event().map_err(|_| TwimlError)?;
        let (is_root, name) = match &event {
            Event::Start(element) | Event::Empty(element) => (depth == 0, Some(element.name())),
            Event::Text(text) => (depth == 0 && !text.as_ref().trim().is_empty(), None),
            Event::CData(_) | Event::GeneralRef(_) => (depth == 0, None),
            // An entity of its own making is nothing that a carrier reads.
            Event::DocType(_) => return Err(TwimlError),
            Event::Eof => break,
            Event::End(_) | Event::Comment(_) | Event::Decl(_) | Event::PI(_) => (false, None),
        };
        if is_root {
            roots += 1;
            if name.is_none_or(|name| name.as_ref() != "Response") || roots > 1 {
                return Err(TwimlError);
            }
        }
        if matches!(event, Event::Start(_)) {
            depth += 1;
        } else if matches!(event, Event::End(_)) {
            depth = depth.saturating_sub(1);
        }
    }
    if roots == 1 && depth == 0 { Ok(()) } else { Err(TwimlError) }
}

/// Refuses the call with a busy tone; a call refused so is not charged.
pub fn busy() -> String {
    response(|xml| xml.create_element("Reject").with_attribute(("reason", "busy")).write_empty().map(|_| ()))
}

fn response(content: impl FnOnce(&mut Writer<Vec<u8>>) -> io::Result<()>) -> String {
    let mut xml = Writer::new(Vec::new());
    let written = xml
        .write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))
        .and_then(|()| xml.create_element("Response").write_inner_content(content).map(|_| ()));
    debug_assert!(written.is_ok(), "writing into memory cannot fail");
    String::from_utf8_lossy(&xml.into_inner()).into_owned()
}

/// XML 1.0 has no way to write most control characters, not even escaped: they are left out.
fn text(raw: &str) -> String {
    raw.chars()
        .filter(|c| !c.is_control() || matches!(c, '\t' | '\n' | '\r'))
        .filter(|c| !matches!(c, '\u{fffe}' | '\u{ffff}'))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = r#"<?xml version="1.0" encoding="UTF-8"?>"#;

    #[test]
    fn a_stream_with_everything_is_written_as_documented() {
        let written = connect_stream(&ConnectStream {
            stream_url: "wss://gw.example.com/twilio/media",
            parameters: &[("tenant", "acme"), ("token", "one-time")],
            action: Some("https://gw.example.com/twilio/after"),
            status_callback: Some("https://gw.example.com/twilio/stream-status"),
        });
        let expected = [
            HEAD,
            r#"<Response><Connect action="https://gw.example.com/twilio/after">"#,
            r#"<Stream url="wss://gw.example.com/twilio/media" statusCallback="https://gw.example.com/twilio/stream-status">"#,
            r#"<Parameter name="tenant" value="acme"/><Parameter name="token" value="one-time"/>"#,
            "</Stream></Connect></Response>",
        ];
        assert_eq!(written, expected.concat());
    }

    #[test]
    fn a_bare_stream_has_no_empty_attributes() {
        let stream = ConnectStream { stream_url: "wss://a/b", parameters: &[], action: None, status_callback: None };
        let expected = r#"<Response><Connect><Stream url="wss://a/b"/></Connect></Response>"#;
        assert_eq!(connect_stream(&stream), format!("{HEAD}{expected}"));
    }

    #[test]
    fn a_refused_and_a_redirected_call() {
        assert_eq!(busy(), format!(r#"{HEAD}<Response><Reject reason="busy"/></Response>"#));
        let expected = "<Response><Redirect>https://b.example.com/?a=1&amp;b=%3C</Redirect></Response>";
        assert_eq!(redirect("https://b.example.com/?a=1&b=%3C"), format!("{HEAD}{expected}"));
    }

    #[test]
    fn a_call_is_ended_transferred_and_typed_on() {
        assert_eq!(hang_up(), format!("{HEAD}<Response><Hangup/></Response>"));
        for (to, element) in [
            ("+15550100001", "<Number>+15550100001</Number>"),
            ("sip:a@b.example;c=d?e=f&g='<", "<Sip>sip:a@b.example;c=d?e=f&amp;g=&apos;&lt;</Sip>"),
            ("client:alice", "<Client>alice</Client>"),
        ] {
            let written = dial(&Address::parse(to).unwrap());
            assert_eq!(written, format!("{HEAD}<Response><Dial>{element}</Dial></Response>"));
            assert_eq!(check(&written), Ok(()));
        }
        let written = play_digits(&Digits::parse("1w#").unwrap(), "https://gw.example.com/v?a=1&b=2");
        let expected = r#"<Play digits="1w#"/><Redirect>https://gw.example.com/v?a=1&amp;b=2</Redirect>"#;
        assert_eq!(written, format!("{HEAD}<Response>{expected}</Response>"));
        assert_eq!(check(&written), Ok(()));
    }

    #[test]
    fn instructions_of_others_are_xml_with_one_response() {
        for good in [
            "<Response/>",
            " <?xml version=\"1.0\"?><!-- a --> <Response><Say>A &amp; b</Say></Response>\n",
            "<Response><Response/></Response>",
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "hello",
            "{}",
            "<Say/>",
            "<Response>",
            "<Response></Wrong>",
            "<Response/><Response/>",
            "<Response/>x",
            "x<Response/>",
            "<response/>",
            "<!DOCTYPE a [<!ENTITY b 'c'>]><Response>&b;</Response>",
        ] {
            assert_eq!(check(bad), Err(TwimlError), "{bad}");
        }
    }

    #[test]
    fn whatever_a_value_holds_it_comes_back_the_same() {
        let nasty = "a\"b'c<d>&amp;]]>\n\t\r é 电话";
        let written = connect_stream(&ConnectStream {
            stream_url: nasty,
            parameters: &[(nasty, nasty)],
            action: Some(nasty),
            status_callback: Some(nasty),
        });
        let mut reader = Reader::from_str(&written);
        let mut values = 0;
        loop {
            let event = reader.read_event().unwrap();
            if event == Event::Eof {
                break;
            }
            if let Event::Start(element) | Event::Empty(element) = event {
                for attribute in element.attributes() {
                    let value = quick_xml::escape::unescape(&attribute.unwrap().value).unwrap().into_owned();
                    assert_eq!(value, nasty);
                    values += 1;
                }
            }
        }
        assert_eq!(values, 5);
    }

    #[test]
    fn characters_that_xml_cannot_hold_are_left_out() {
        assert_eq!(redirect("a\0b\u{1b}c\u{ffff}d"), format!("{HEAD}<Response><Redirect>abcd</Redirect></Response>"));
    }
}
