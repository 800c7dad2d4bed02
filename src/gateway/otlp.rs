//! Where traces of calls go, by the configuration.

use std::sync::Arc;

use crate::config;
use crate::driver::Meter;
use crate::traces::{self, Traces, TracesError};

/// The way to the collector, if there is one.
pub(super) fn traces(config: &config::Otlp, meter: &Arc<Meter>) -> Result<Option<Traces>, TracesError> {
    let Some(url) = &config.url else { return Ok(None) };
    let settings = traces::Settings {
        url: url.clone(),
        headers: config.headers.clone().into_iter().collect(),
        ca_file: config.ca_file.clone(),
        service_name: config.service_name.clone(),
        sample: config.sample,
        timeout: config.timeout,
        queue: config.queue_spans as usize,
    };
    Traces::new(settings, meter.clone()).map(Some)
}
