//! The HTTP side: webhooks, media-stream upgrades, control.

pub mod twilio;
