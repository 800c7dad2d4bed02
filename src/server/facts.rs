//! What the carrier told of a call when it asked what to do with it, on its way from the webhook to the stream.
//!
//! The stream may come to another replica than the webhook. So the facts travel with it, as parameters under names of our
//! own, and are taken out before an agent sees the rest.

use std::collections::BTreeMap;
use std::fmt;

use super::twilio::token;
use super::twilio::webhook::Fields;

/// Begins the names of parameters that are ours; nobody else's may begin so.
pub const RESERVED: &str = "trunkline.";
/// Longest value that is handed on, in characters. With its name it fits into the 500 that Twilio passes on; what is
/// longer is no number, name or id.
const VALUE_CHARS_MAX: usize = 400;

/// The webhook's fields that agents ask for; empty where the carrier named none. `Debug` shows no values.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// `From`: the caller's number or address.
    pub from: String,
    /// `To`: the number or address that was called.
    pub to: String,
    /// `AccountSid`: the account that the call belongs to.
    pub account_sid: String,
    /// `CallerName`: who the caller is, where the number is registered to somebody.
    pub caller_name: String,
    /// `ForwardedFrom`: the number that sent the call on.
    pub forwarded_from: String,
    /// `Direction`: `inbound`, `outbound-api` or `outbound-dial`.
    pub direction: String,
    /// `CallStatus` when the webhook was asked: `ringing` or `in-progress`.
    pub call_status: String,
    /// `ParentCallSid`: the call that this one is a leg of.
    pub parent_call_sid: String,
}

impl Facts {
    /// Reads the fields of a webhook.
    pub(super) fn of_webhook(fields: &Fields) -> Self {
        let mut facts = Facts::default();
        for (field, _, value) in facts.each_mut() {
            *value = fields.get(field).unwrap_or_default().to_owned();
        }
        facts
    }

    /// The parameters by which they reach the stream.
    pub(super) fn parameters(mut self) -> Vec<(String, String)> {
        let told = self.each_mut().into_iter().filter(|(_, _, value)| {
            let is_short = value.chars().count() <= VALUE_CHARS_MAX;
            is_short && !value.is_empty()
        });
        told.map(|(_, name, value)| (format!("{RESERVED}{name}"), std::mem::take(value))).collect()
    }

    /// Takes them out of a stream's parameters, with everything else there that is ours.
    pub(super) fn take(parameters: &mut BTreeMap<String, String>) -> Self {
        let mut facts = Facts::default();
        for (_, name, value) in facts.each_mut() {
            *value = parameters.remove(&format!("{RESERVED}{name}")).unwrap_or_default();
        }
        parameters.retain(|name, _| !is_reserved(name));
        facts
    }

    /// Field of the webhook, name of the parameter behind [`RESERVED`], value.
    fn each_mut(&mut self) -> [(&'static str, &'static str, &mut String); 8] {
        [
            ("From", "from", &mut self.from),
            ("To", "to", &mut self.to),
            ("AccountSid", "account", &mut self.account_sid),
            ("CallerName", "caller_name", &mut self.caller_name),
            ("ForwardedFrom", "forwarded_from", &mut self.forwarded_from),
            ("Direction", "direction", &mut self.direction),
            ("CallStatus", "status", &mut self.call_status),
            ("ParentCallSid", "parent", &mut self.parent_call_sid),
        ]
    }
}

impl fmt::Debug for Facts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Facts").field("direction", &self.direction).finish_non_exhaustive()
    }
}

/// Whether a parameter's name is ours.
pub fn is_reserved(name: &str) -> bool {
    name.starts_with(RESERVED) || name == token::PARAMETER
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_survive_the_way_and_leave_nothing_behind() {
        let form = "CallSid=CA1&AccountSid=AC1&From=%2B15550100001&To=sip%3Aa%40b&CallerName=Jane+D%C3%B8e&\
            ForwardedFrom=%2B15550100003&Direction=inbound&CallStatus=ringing&ParentCallSid=CA0&FromCity=X";
        let facts = Facts::of_webhook(&Fields::decode(form.as_bytes()));
        assert_eq!((facts.from.as_str(), facts.caller_name.as_str()), ("+15550100001", "Jane Døe"));
        let mut parameters: BTreeMap<String, String> = facts.clone().parameters().into_iter().collect();
        assert_eq!(parameters.len(), 8);
        assert!(parameters.keys().all(|name| is_reserved(name)));
        for (name, value) in [("tenant", "acme"), (token::PARAMETER, "secret"), ("trunkline.later", "x")] {
            parameters.insert(name.to_owned(), value.to_owned());
        }
        assert_eq!(Facts::take(&mut parameters), facts);
        assert_eq!(parameters, BTreeMap::from([("tenant".to_owned(), "acme".to_owned())]));
        assert_eq!(format!("{facts:?}"), r#"Facts { direction: "inbound", .. }"#);
    }

    #[test]
    fn what_is_empty_or_absurdly_long_is_not_handed_on() {
        let facts = Facts { from: "x".repeat(401), to: "x".repeat(400), ..Facts::default() };
        let names: Vec<String> = facts.parameters().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["trunkline.to"]);
    }
}
