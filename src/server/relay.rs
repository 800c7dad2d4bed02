//! Sessions with a ConversationRelay app: who calls whom, and how each one ended.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::aftermath::{Ended, Status};
use super::carrier::About;
use super::facts::Facts;
use super::twilio::token::random_bytes;
use crate::call::action::AgentReport;
use crate::dialect::relay::{Relay, Settings, Setup};
use crate::driver::{AppLink, Dialler};
use crate::ids::{CallSid, CallTime, TurnId};

/// The app counts its turns up to here; what comes over the API is counted from here on.
pub(super) const APP_TURNS_MAX: TurnId = TurnId(1 << 30);
/// Twilio's codes for an app that cannot be reached, or left, and for one that made no sense, with its words.
const LOST: (u32, &str) = (39_001, "Network connection to WebSocket server failed.");
const DISMISSED: (u32, &str) = (64_105, "WebSocket Ended: too many consecutive malformed messages.");

/// The parameter of a session that says where the API of its node is. The name is one that no other parameter can have.
const CONTROL_URL: &str = "trunkline.control_url";

/// An app, as every call uses it.
#[derive(Clone, Debug)]
pub struct RelayApp {
    /// What is the same in every session. Of `setup` that is the account and the parameters.
    pub settings: Settings,
    /// How to get there.
    pub dialler: Arc<Dialler>,
}

impl RelayApp {
    /// What shapes the session of a call that begins now, `since_epoch` in Unix time.
    /// `control_url` is where the API of this node is, which the app is told beside the call's parameters.
    pub(super) fn session(
        &self,
        call: &CallSid,
        about: &About,
        control_url: Option<String>,
        since_epoch: Duration,
    ) -> Settings {
        let common = &self.settings.setup;
        let parameters = common.custom_parameters.iter().chain(&about.parameters);
        let mut custom_parameters: BTreeMap<String, String> =
            parameters.map(|(name, value)| (name.clone(), value.clone())).collect();
        custom_parameters.extend(control_url.map(|url| (CONTROL_URL.to_owned(), url)));
        let setup = Setup { call_sid: call.to_string(), custom_parameters, ..setup(common, &about.facts) };
        let started_ms = u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX);
        Settings { setup, started_ms, ..self.settings.clone() }
    }

    /// The link of that session.
    pub(super) fn link(&self, session: Settings) -> AppLink {
        AppLink { dialect: Box::new(Relay::new(session)), dialler: self.dialler.clone() }
    }
}

/// Who calls whom, as far as the carrier's webhook told. Without it, what is the same in every session.
fn setup(common: &Setup, facts: &Facts) -> Setup {
    let account_sid = if facts.account_sid.is_empty() { &common.account_sid } else { &facts.account_sid };
    let call_type = match facts.from.split_once(':') {
        Some((scheme, _)) if scheme.eq_ignore_ascii_case("sip") || scheme.eq_ignore_ascii_case("sips") => "SIP",
        Some((scheme, _)) if scheme.eq_ignore_ascii_case("client") => "CLIENT",
        Some(_) | None => "PSTN",
    };
    let direction = if facts.direction.is_empty() { "inbound" } else { &facts.direction };
    Setup {
        session_id: session_id(),
        account_sid: account_sid.clone(),
        parent_call_sid: facts.parent_call_sid.clone(),
        from: facts.from.clone(),
        to: facts.to.clone(),
        forwarded_from: facts.forwarded_from.clone(),
        call_type: call_type.to_owned(),
        caller_name: facts.caller_name.clone(),
        direction: direction.to_owned(),
        call_status: facts.call_status.to_ascii_uppercase(),
        ..Setup::default()
    }
}

/// `VX` and 32 hexadecimal digits. Nobody has to guess it, and a name that another session has does no harm.
fn session_id() -> String {
    let bytes: [u8; 16] = random_bytes().unwrap_or_default();
    bytes.iter().fold("VX".to_owned(), |id, byte| format!("{id}{byte:02x}"))
}

/// How a session is going, until it has ended.
#[derive(Debug)]
pub(super) struct Course {
    session_id: String,
    status: Status,
}

impl Course {
    /// A session that has just begun.
    pub(super) fn new(session: &Settings) -> Self {
        Course { session_id: session.setup.session_id.clone(), status: Status::Completed }
    }

    /// Takes a report; how the session ended, if this was the last one.
    pub(super) fn take(&mut self, at: CallTime, report: &AgentReport) -> Option<Ended> {
        use crate::call::action::EndReason;
        match (report, &self.status) {
            (AgentReport::Dismissed, _) => self.status = failed(DISMISSED),
            (AgentReport::AgentLost { .. }, Status::Completed) => self.status = failed(LOST),
            (AgentReport::HandedOff { data }, _) => self.status = Status::Ended { handoff: Some(data.clone()) },
            (AgentReport::Ended(EndReason::AgentDone), Status::Completed) => {
                self.status = Status::Ended { handoff: None };
            }
            (_, _) => {}
        }
        let duration = at.since(CallTime::ZERO);
        let status = self.status.clone();
        let is_over = matches!(report, AgentReport::Ended(_));
        is_over.then(|| Ended { session_id: self.session_id.clone(), status, duration })
    }
}

fn failed((code, message): (u32, &str)) -> Status {
    Status::Failed { code, message: message.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::action::EndReason;
    use crate::call::event::{Fault, FaultKind};

    fn facts() -> Facts {
        Facts {
            from: "+15550100001".to_owned(),
            to: "+15550100002".to_owned(),
            call_status: "ringing".to_owned(),
            direction: "inbound".to_owned(),
            ..Facts::default()
        }
    }

    #[test]
    fn setup_says_what_the_webhook_said() {
        let common = Setup { account_sid: "AC1".to_owned(), ..Setup::default() };
        let told = setup(&common, &facts());
        assert_eq!((told.from.as_str(), told.to.as_str()), ("+15550100001", "+15550100002"));
        assert_eq!((told.call_type.as_str(), told.call_status.as_str()), ("PSTN", "RINGING"));
        assert_eq!((told.account_sid.as_str(), told.direction.as_str()), ("AC1", "inbound"));
        assert_eq!((told.session_id.len(), told.session_id.get(..2)), (34, Some("VX")));
        let other = Facts { from: "sip:a@b".to_owned(), account_sid: "AC2".to_owned(), ..facts() };
        let told = setup(&common, &other);
        assert_eq!((told.call_type.as_str(), told.account_sid.as_str()), ("SIP", "AC2"));
        let nothing = setup(&common, &Facts::default());
        assert_eq!(
            (nothing.direction.as_str(), nothing.call_status.as_str(), nothing.to.as_str()),
            ("inbound", "", "")
        );
        assert_ne!(nothing.session_id, told.session_id);
    }

    fn course(reports: &[AgentReport]) -> Status {
        let mut course = Course { session_id: "VX1".to_owned(), status: Status::Completed };
        for report in reports {
            assert_eq!(course.take(CallTime::from_millis(1), report), None);
        }
        let reason = if reports.is_empty() { EndReason::AgentDone } else { EndReason::CarrierStopped };
        let ended = course.take(CallTime::from_millis(7_500), &AgentReport::Ended(reason)).unwrap();
        assert_eq!((ended.session_id.as_str(), ended.duration), ("VX1", Duration::from_millis(7_500)));
        ended.status
    }

    #[test]
    fn a_session_ends_as_its_reports_say() {
        let fault = Fault { kind: FaultKind::Fatal, reason: "status 404".to_owned() };
        let lost = AgentReport::AgentLost { fault };
        let handed = AgentReport::HandedOff { data: "{}".to_owned() };
        assert_eq!(course(&[AgentReport::Connected]), Status::Completed);
        assert_eq!(course(&[]), Status::Ended { handoff: None });
        assert_eq!(course(&[handed]), Status::Ended { handoff: Some("{}".to_owned()) });
        assert!(matches!(course(std::slice::from_ref(&lost)), Status::Failed { code: 39_001, .. }));
        assert!(matches!(course(&[AgentReport::Dismissed, lost]), Status::Failed { code: 64_105, .. }));
    }
}
