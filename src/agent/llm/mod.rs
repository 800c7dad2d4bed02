//! An agent that asks a language model: any server of the chat-completions API with streamed answers.
//!
//! [`Brain`] decides, without IO; [`Server`] asks; [`Llm::run`] moves what happens between the call, the model and the
//! tools. One question is open at a time, and dropping it closes its connection, which is how a server is told to stop.

pub mod answer;
pub mod brain;
mod clean;
pub mod history;
pub mod run;
pub mod settings;
pub mod stream;
pub mod toolbox;
mod tools;
pub mod wire;

use std::sync::Arc;

pub use brain::Brain;
pub use settings::Settings;
pub use stream::{Model, Server};
pub use tools::{Transfer, TransferError};

use crate::http::outbound::{Guarded, Outbound, Purpose};
use crate::http::{self, Http, HttpError, Proxies};
use toolbox::Toolbox;
use tools::Endpoint;

/// An agent for many calls. Cheap to clone.
#[derive(Clone)]
pub struct Llm {
    settings: Arc<Settings>,
    toolbox: Toolbox,
    model: Arc<dyn Model>,
    endpoints: Arc<[Endpoint]>,
}

impl Llm {
    /// An agent as `settings` describe it. Unless it `can_transfer`, the model is not told that callers could be handed over.
    /// The model is asked wherever the settings say; tools, which are asked for what a model made up, where `outbound` allows.
    ///
    /// # Errors
    /// [`HttpError`] if a URL, a key or the authorities cannot be used.
    pub fn new(settings: Settings, can_transfer: bool, outbound: &Outbound) -> Result<Self, HttpError> {
        let settings = Arc::new(settings);
        let toolbox = Toolbox::new(settings.clone(), can_transfer);
        let web = http::Settings {
            authorities: settings.ca_file.as_deref(),
            connect: settings.limits.connect,
            proxies: Proxies::Environment,
        };
        let http = Http::new(web)?;
        let guarded = Guarded::new(web, outbound, Purpose::Tool)?;
        let model = Server::new(http, settings.clone(), toolbox.offers())?;
        let endpoints = settings.tools.iter().map(|tool| Endpoint::new(&guarded, tool)).collect::<Result<_, _>>()?;
        Ok(Llm { settings, toolbox, model: Arc::new(model), endpoints })
    }

    /// Whoever answers its questions.
    pub fn model(&self) -> &dyn Model {
        &*self.model
    }

    /// Name of the model.
    pub fn model_name(&self) -> &str {
        &self.settings.model
    }

    /// The same with another model in place of the server.
    #[must_use]
    pub fn with_model(self, model: Arc<dyn Model>) -> Self {
        Llm { model, ..self }
    }
}

impl std::fmt::Debug for Llm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Llm").field("model", &self.settings.model).finish_non_exhaustive()
    }
}
