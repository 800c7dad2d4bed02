//! Whom we believe to be who they say they are, over HTTP and over WebSockets alike.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{CertificateError, ClientConfig, RootCertStore};

/// Why there can be no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The file with authorities cannot be used.
    #[error("cannot use the authorities in {file}: {reason}")]
    Authorities {
        /// The file.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
    /// No TLS can be had.
    #[error("cannot set up TLS")]
    Tls(#[from] rustls::Error),
}

/// TLS that trusts the authorities in `authorities`, a PEM file, and no others; without it, those of the web.
///
/// # Errors
/// [`TrustError`].
pub fn trust(authorities: Option<&Path>) -> Result<ClientConfig, TrustError> {
    let roots = match authorities {
        Some(file) => authorities_in(file)?,
        None => RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() },
    };
    // Named, because rustls panics where two providers are compiled in and none was chosen.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(tls)
}

/// What is wrong with the certificate of a server that was not believed; `None` if TLS failed for another reason.
pub fn distrust(fault: &rustls::Error) -> Option<String> {
    let rustls::Error::InvalidCertificate(fault_of_it) = fault else { return None };
    // A bad signature is what an authority of the right name with another key looks like.
    if matches!(fault_of_it, CertificateError::UnknownIssuer | CertificateError::BadSignature) {
        Some("the server's certificate is from an unknown authority; name its certificate in ca_file".to_owned())
    } else if matches!(fault_of_it, CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. })
    {
        Some("the server's certificate is for another host name than the URL's".to_owned())
    } else {
        Some(fault.to_string())
    }
}

fn authorities_in(file: &Path) -> Result<RootCertStore, TrustError> {
    let error = |reason: String| TrustError::Authorities { file: file.display().to_string(), reason };
    let pem = fs::read(file).map_err(|problem| error(problem.to_string()))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|problem| error(problem.to_string()))?;
        roots.add(certificate).map_err(|problem| error(problem.to_string()))?;
    }
    if roots.is_empty() { Err(error("it holds no certificate".to_owned())) } else { Ok(roots) }
}
