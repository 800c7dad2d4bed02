//! Who can be called and which keys can be pressed: values that come from outside and go into instructions.

use std::fmt;
use std::str::FromStr;

/// Fewest and most digits of a number behind its plus sign (ITU-T E.164 allows 15).
const NUMBER_DIGITS: std::ops::RangeInclusive<usize> = 7..=15;
/// Longest SIP address, in characters; Twilio's own limit.
const SIP_CHARS_MAX: usize = 255;
/// Longest name of a client, in characters; Twilio's own limit.
const CLIENT_CHARS_MAX: usize = 121;
/// Most keys pressed at one time. With pauses of half a second they fill most of a minute.
const DIGITS_MAX: usize = 100;

/// Not an address that can be called. It does not repeat what it was: that may be somebody's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be a number such as +15550100001, or sip:user@host, or client:name")]
pub struct AddressError;

/// Not keys that can be pressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be 1 to {DIGITS_MAX} of 0-9, * and #, with w for a pause of half a second")]
pub struct DigitsError;

/// Somebody who can be called. `Debug` shows the kind and never the address.
#[derive(Clone, PartialEq, Eq)]
pub struct Address {
    kind: Kind,
    text: String,
}

/// The kinds of address that Twilio calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A telephone number in E.164: `+15550100001`.
    Number,
    /// `sip:user@host`, with whatever parameters follow.
    Sip,
    /// `client:name`, an app that is registered with the account.
    Client,
}

impl Address {
    /// Reads a number in E.164, `sip:user@host` (or `sips:`) or `client:name`.
    ///
    /// # Errors
    /// [`AddressError`].
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let is_printable = text.chars().all(|c| c.is_ascii_graphic());
        let kind = if let Some(digits) = text.strip_prefix('+') {
            let is_number = digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.starts_with('0');
            (is_number && NUMBER_DIGITS.contains(&digits.len())).then_some(Kind::Number)
        } else if let Some(address) = text.strip_prefix("sip:").or_else(|| text.strip_prefix("sips:")) {
            let is_whole = address.split_once('@').is_some_and(|(user, host)| !user.is_empty() && !host.is_empty());
            (is_whole && is_printable && text.len() <= SIP_CHARS_MAX).then_some(Kind::Sip)
        } else if let Some(name) = text.strip_prefix("client:") {
            (is_printable && (1..=CLIENT_CHARS_MAX).contains(&name.len())).then_some(Kind::Client)
        } else {
            None
        };
        kind.map(|kind| Address { kind, text: text.to_owned() }).ok_or(AddressError)
    }

    /// What kind it is.
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// As it is written in a request for a call. Not for logs.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl FromStr for Address {
    type Err = AddressError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({:?})", self.kind)
    }
}

/// Keys to be pressed, with pauses. `Debug` shows how many: they may be a PIN.
#[derive(Clone, PartialEq, Eq)]
pub struct Digits(String);

impl Digits {
    /// Reads `0`-`9`, `*`, `#` and `w`.
    ///
    /// # Errors
    /// [`DigitsError`].
    pub fn parse(text: &str) -> Result<Self, DigitsError> {
        let is_good = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'*' | b'#' | b'w'));
        if is_good && (1..=DIGITS_MAX).contains(&text.len()) { Ok(Digits(text.to_owned())) } else { Err(DigitsError) }
    }

    /// How long pressing them takes at most, in seconds: a pause lasts half a second, and a key no longer.
    pub fn seconds(&self) -> u64 {
        self.0.len().div_ceil(2) as u64
    }

    /// As they are written in an instruction. Not for logs.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Digits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digits({})", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_apart() {
        for (text, kind) in [
            ("+15550100001", Kind::Number),
            ("+2904123", Kind::Number),
            ("+123456789012345", Kind::Number),
            ("sip:alice@example.com;transport=tls?x-a=b", Kind::Sip),
            ("sips:+15550100001@10.0.0.1:5061", Kind::Sip),
            ("client:alice", Kind::Client),
        ] {
            let address = Address::parse(text).unwrap();
            assert_eq!((address.kind(), address.as_str()), (kind, text));
            assert!(!format!("{address:?}").contains("alice"), "{address:?}");
        }
    }

    #[test]
    fn what_nobody_can_call_is_refused() {
        let long = format!("sip:{}@example.com", "a".repeat(256));
        for text in [
            "",
            "+",
            "15550100001",
            "+05550100001",
            "+1 555 010 0001",
            "+1234567890123456",
            "+12345",
            "+١٢٣٤٥٦٧",
            "sip:",
            "sip:example.com",
            "sip:@example.com",
            "sip:a b@example.com",
            "client:",
            "client:a\nb",
            "tel:+15550100001",
            &long,
        ] {
            assert_eq!(Address::parse(text), Err(AddressError), "{text:?}");
        }
    }

    #[test]
    fn digits_are_those_of_a_telephone() {
        assert_eq!(Digits::parse("9ww42*#").unwrap().as_str(), "9ww42*#");
        assert_eq!(format!("{:?}", Digits::parse("1234").unwrap()), "Digits(4)");
        for text in ["", "12a", "1 2", "W", "+1", "\u{661}", &"1".repeat(101)] {
            assert_eq!(Digits::parse(text), Err(DigitsError), "{text:?}");
        }
    }
}
