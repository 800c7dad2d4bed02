//! A place for a context: on its link, which may carry only so many, and in the account, which may have only so many.

use super::Call;
use crate::ids::ContextId;

impl Call {
    /// One of the account's contexts is free for the context that asked for it.
    pub(super) fn on_granted(&mut self, id: ContextId) {
        let Some(turn) = self.turn_mut(id.turn) else { return };
        turn.granted(id);
    }
}
