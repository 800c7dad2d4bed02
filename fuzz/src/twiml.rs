//! Instructions to the carrier, with texts of others in them, and instructions of others.

use trunkline::server::twilio::address::{Address, Digits};
use trunkline::server::twilio::twiml::{self, ConnectStream};

/// Up to four texts, divided by zero bytes.
pub fn twiml(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let mut parts = text.split('\0');
    let mut next = || parts.next().unwrap_or_default();
    let (url, name, value, action) = (next(), next(), next(), next());
    let stream = ConnectStream {
        stream_url: url,
        parameters: &[(name, value), ("second", name)],
        action: Some(action),
        status_callback: Some(value),
    };
    let xml = written(&twiml::connect_stream(&stream));
    let document = roxmltree::Document::parse(&xml).expect("XML");
    let find = |name: &str| document.descendants().find(|node| node.has_tag_name(name)).expect("an element");
    assert_eq!(find("Connect").attribute("action"), Some(&*plain(action)));
    assert_eq!(find("Stream").attribute("url"), Some(&*plain(url)));
    assert_eq!(find("Stream").attribute("statusCallback"), Some(&*plain(value)));
    assert_eq!(find("Parameter").attribute("name"), Some(&*plain(name)));
    assert_eq!(find("Parameter").attribute("value"), Some(&*plain(value)));
    let elements = document.descendants().filter(roxmltree::Node::is_element).count();
    assert_eq!(elements, 5, "an element came out of a text");

    let xml = written(&twiml::redirect(url));
    let document = roxmltree::Document::parse(&xml).expect("XML");
    let redirect = document.descendants().find(|node| node.has_tag_name("Redirect")).expect("an element");
    assert_eq!(redirect.text().unwrap_or_default(), plain(url));
    if let Ok(to) = Address::parse(name) {
        written(&twiml::dial(&to));
    }
    if let Ok(digits) = Digits::parse(name) {
        written(&twiml::play_digits(&digits, url));
    }
    // What passes for instructions is XML to others, too.
    if twiml::check(&text).is_ok() {
        assert!(!text.trim().is_empty());
    }
}

fn written(xml: &str) -> String {
    assert!(twiml::check(xml).is_ok(), "{xml:?}");
    xml.to_owned()
}

/// A text without what XML cannot say.
fn plain(text: &str) -> String {
    let is_sayable =
        |c: &char| (!c.is_control() || matches!(c, '\t' | '\n' | '\r')) && !matches!(c, '\u{fffe}' | '\u{ffff}');
    text.chars().filter(is_sayable).collect()
}
