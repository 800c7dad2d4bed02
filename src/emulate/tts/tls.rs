//! A certificate authority that lives as long as one server, so that clients can be tried over `wss`.

use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

/// TLS of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsSettings {
    /// Host names or addresses that the certificate is good for.
    pub names: Vec<String>,
    /// Where the authority's certificate is written in PEM, for clients to trust.
    pub ca_out: Option<PathBuf>,
}

impl Default for TlsSettings {
    /// Good for `localhost` only.
    fn default() -> Self {
        Self { names: vec!["localhost".to_owned()], ca_out: None }
    }
}

/// Why TLS could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A certificate could not be made, mostly because a name is no host name.
    #[error("cannot make a certificate")]
    Certificate(#[from] rcgen::Error),
    /// The TLS library refused the certificate or the key.
    #[error("cannot serve with the certificate")]
    Config(#[from] rustls::Error),
}

/// A server's identity and the certificate that vouches for it.
#[derive(Debug)]
pub(in crate::emulate) struct Identity {
    /// The authority's certificate.
    pub(in crate::emulate) ca_pem: String,
    pub(in crate::emulate) config: Arc<ServerConfig>,
}

/// Makes an authority, lets it sign a certificate for `names`, and forgets the authority's key.
pub(in crate::emulate) fn identity(names: &[String]) -> Result<Identity, TlsError> {
    let mut authority = CertificateParams::new(Vec::new())?;
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    authority.distinguished_name.push(DnType::CommonName, "Trunkline emulator, throw-away authority");
    let authority_key = KeyPair::generate()?;
    let ca = authority.self_signed(&authority_key)?;
    let issuer = Issuer::new(authority, authority_key);

    let mut server = CertificateParams::new(names.to_vec())?;
    server.distinguished_name.push(DnType::CommonName, "Trunkline emulator");
    server.use_authority_key_identifier_extension = true;
    server.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let server_key = KeyPair::generate()?;
    let certificate = server.signed_by(&server_key, &issuer)?;

    // The provider is named: without one installed for the process, rustls panics.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(server_key.serialize_der()));
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)?;
    Ok(Identity { ca_pem: ca.pem(), config: Arc::new(config) })
}
