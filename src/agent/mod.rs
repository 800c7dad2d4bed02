//! Agents in this process. An agent hears reports and says things through the call's inbox, as a vendor's would.

pub mod llm;
pub mod script;
