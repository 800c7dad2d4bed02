//! Hearing: from the caller's audio to what was said, over links to a vendor.

use super::Call;
use super::event::{HearingEvent, LinkNumber};
use crate::ids::CallTime;

impl Call {
    pub(super) fn on_hearing(&mut self, _now: CallTime, _link: LinkNumber, event: HearingEvent) {
        if event == HearingEvent::Garbage {
            self.stats.garbage += 1;
        }
    }

    pub(super) fn on_hearing_language(&mut self, _now: CallTime, _language: Option<String>) {}
}
