//! What peers write, as serde types and nothing more: one file per carrier family or vendor.

pub mod cartesia;
pub mod twilio;
