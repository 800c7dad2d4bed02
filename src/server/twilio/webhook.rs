//! The fields of a Twilio webhook.

use std::fmt;

use crate::ids::{CallSid, SidError};

/// The decoded fields of a webhook, in the order in which they came.
///
/// An open list: Twilio adds fields without notice, and the signature covers every one of them, known or not.
/// `Debug` prints names only, since the values are people's telephone numbers and places.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Fields(Vec<(String, String)>);

impl Fields {
    /// Decodes a form body or a raw query string. Never fails: a broken escape stays as it is written, and bytes that
    /// are not UTF-8 become replacement characters, so that one odd field does not cost the call.
    pub fn decode(raw: &[u8]) -> Self {
        Self(form_urlencoded::parse(raw).into_owned().collect())
    }

    /// The first value of `name`, blank ones included.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_str())
    }

    /// All fields, as (name, value).
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The call that the webhook is about.
    ///
    /// # Errors
    /// [`SidError`] if the field is missing (as an empty id) or cannot be a name.
    pub fn call_sid(&self) -> Result<CallSid, SidError> {
        CallSid::parse(self.get("CallSid").unwrap_or_default())
    }

    /// The account that the call belongs to.
    pub fn account_sid(&self) -> Option<&str> {
        self.get("AccountSid")
    }

    /// The caller: a telephone number, a SIP address or a client name. Not for logs.
    pub fn from(&self) -> Option<&str> {
        self.get("From")
    }

    /// The called number or address. Not for logs.
    pub fn to(&self) -> Option<&str> {
        self.get("To")
    }
}

impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fields")?;
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_and_unknown_fields_are_kept() {
        let fields =
            Fields::decode(b"CallSid=CA1&From=%2B15550100001&To=sip%3Aa%40b&CallerName=&Later=x+y&AccountSid=AC1");
        assert_eq!(fields.call_sid().unwrap().as_str(), "CA1");
        assert_eq!(fields.account_sid(), Some("AC1"));
        assert_eq!((fields.from(), fields.to()), (Some("+15550100001"), Some("sip:a@b")));
        assert_eq!(
            (fields.get("CallerName"), fields.get("Later"), fields.get("Absent")),
            (Some(""), Some("x y"), None)
        );
        assert_eq!(fields.iter().count(), 6);
    }

    #[test]
    fn garbage_is_decoded_as_far_as_it_goes() {
        let fields = Fields::decode(b"&&=&a&b=%zz&c=%ff&CallSid=CA1&CallSid=CA2");
        assert_eq!((fields.get("a"), fields.get("b"), fields.get("c")), (Some(""), Some("%zz"), Some("\u{fffd}")));
        assert_eq!(fields.get("CallSid"), Some("CA1"));
        assert_eq!(Fields::decode(b"From=x").call_sid(), Err(SidError::Empty));
    }

    #[test]
    fn debug_shows_names_and_no_values() {
        let shown = format!("{:?}", Fields::decode(b"CallSid=CA1&From=%2B15550100001"));
        assert_eq!(shown, r#"Fields["CallSid", "From"]"#);
    }
}
