//! `[tls]`: what the port of the server speaks.

use std::path::PathBuf;

use serde::Deserialize;

use crate::server::tls;

/// `[tls]`. A checked one has both a certificate and a key, or nothing.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tls {
    /// PEM file of the server's certificate and its chain.
    pub cert_file: Option<PathBuf>,
    /// PEM file of its private key.
    pub key_file: Option<PathBuf>,
    /// PEM file of the authorities that clients need a certificate of.
    pub client_ca_file: Option<PathBuf>,
}

impl Tls {
    /// What the server makes of it; `None`: it speaks plain HTTP.
    pub fn settings(&self) -> Option<tls::Settings> {
        Some(tls::Settings {
            cert_file: self.cert_file.clone()?,
            key_file: self.key_file.clone()?,
            client_ca_file: self.client_ca_file.clone(),
        })
    }
}
