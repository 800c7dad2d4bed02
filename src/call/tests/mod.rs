//! The core in virtual time, against a model carrier and a model voice that know the truth.

mod agent;
mod barge_in;
mod chain;
mod corners;
mod faults;
mod hearing;
mod phrases;
mod playing;
mod rig;
mod text;
mod voice;
