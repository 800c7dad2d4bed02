//! `X-Twilio-Signature`: proof that a webhook or a media-stream upgrade comes from Twilio.
//!
//! The signed text is the URL as Twilio was told it, then every form parameter, sorted by name. Vectors: Twilio's own
//! Python helper library, 9.13.0. Field reports differ on the scheme, the port and the trailing slash that Twilio
//! signs at an upgrade, so that a few forms of *our own configured* URL are tried; nothing that a request says about
//! its host or scheme is ever used.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use super::public_url::PublicUrl;
use super::webhook::Fields;
use crate::secret::Secret;

/// The header that carries the signature: standard base64, padded.
pub const SIGNATURE_HEADER: &str = "X-Twilio-Signature";
/// The header that names key and algorithm; without it the key is the auth token and the algorithm HMAC-SHA1.
pub const SETTINGS_HEADER: &str = "X-Twilio-Webhooks-Signature-Settings";
/// The query parameter that covers a JSON body: SHA-256 in hexadecimal.
const BODY_DIGEST: &str = "bodySHA256";

/// The two headers of a signed request, as received.
#[derive(Clone, Copy, Debug, Default)]
pub struct SignatureHeaders<'a> {
    /// Value of [`SIGNATURE_HEADER`].
    pub signature: Option<&'a str>,
    /// Value of [`SETTINGS_HEADER`].
    pub settings: Option<&'a str>,
}

/// The body of a webhook, by its content type.
#[derive(Clone, Copy)]
pub enum Body<'a> {
    /// A `GET`: whatever there is stands in the query, which is signed as part of the URL.
    Empty,
    /// `application/x-www-form-urlencoded`: every decoded parameter is signed.
    Form(&'a [u8]),
    /// `application/json`: the query carries its digest.
    Json(&'a [u8]),
}

/// How a signature is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// HMAC-SHA1 with the account's auth token.
    HmacSha1,
    /// HMAC-SHA256 with a shared key.
    HmacSha256,
}

/// Why a request is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Cause {
    /// No signature header.
    #[error("the signature header is missing")]
    Missing,
    /// The signature header is not base64.
    #[error("the signature header is not base64")]
    Encoding,
    /// The settings header cannot be read.
    #[error("the signature settings header cannot be read")]
    Settings,
    /// The settings header names an algorithm that we do not know.
    #[error("the signature algorithm is unknown")]
    Algorithm,
    /// HMAC-SHA256 with a key id that is not configured.
    #[error("the shared key is unknown")]
    Key,
    /// HMAC-SHA1, but no auth token is configured.
    #[error("no auth token is configured")]
    Token,
    /// A JSON body without a digest in the query, or with another one.
    #[error("the digest of the body is missing or does not match")]
    Digest,
    /// The signature belongs to another request, key or URL.
    #[error("the signature does not match")]
    Mismatch,
}

/// A request that is not believed, with all that a log line may say about it: no values, only names.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Refusal {
    /// What is wrong.
    pub cause: Cause,
    /// Scheme of the URL that we expected to be signed.
    pub scheme: &'static str,
    /// Host of that URL.
    pub host: String,
    /// Port of that URL, if the configuration names one.
    pub port: Option<u16>,
    /// Path of that URL, prefix included.
    pub path: String,
    /// Names of the parameters in query and form, without control characters, cut to a sane number and length.
    pub parameters: Vec<String>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cause, scheme, host, port, path, parameters } = self;
        write!(f, "{cause}; checked against scheme {scheme}, host {host}, ")?;
        match port {
            Some(port) => write!(f, "port {port}")?,
            None => f.write_str("no port")?,
        }
        write!(f, ", path {path}, parameters [{}]", parameters.join(", "))
    }
}

/// Checks signatures against one public URL and one set of keys. `Debug` shows no key.
#[derive(Clone)]
pub struct Verifier {
    public_url: PublicUrl,
    auth_token: Option<Secret>,
    shared_keys: BTreeMap<String, Secret>,
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier").field("public_url", &self.public_url).finish_non_exhaustive()
    }
}

impl Verifier {
    /// `auth_token` checks HMAC-SHA1; `shared_keys` (key id to secret) checks HMAC-SHA256. What is absent is refused.
    pub fn new(public_url: PublicUrl, auth_token: Option<Secret>, shared_keys: BTreeMap<String, Secret>) -> Self {
        Self { public_url, auth_token, shared_keys }
    }

    /// Checks a webhook at our `route` (`/twilio/voice`, without the prefix of the public URL).
    ///
    /// # Errors
    /// A [`Refusal`] that is fit for a log line.
    pub fn webhook(
        &self,
        route: &str,
        raw_query: Option<&str>,
        body: Body<'_>,
        headers: SignatureHeaders<'_>,
    ) -> Result<(), Refusal> {
        let scheme = self.public_url.transport().http();
        let form = match body {
            Body::Form(raw) => Fields::decode(raw),
            Body::Empty | Body::Json(_) => Fields::default(),
        };
        let outcome = check_digest(raw_query, body).and_then(|()| {
            let url = |port| with_query(self.public_url.url(scheme, port, route), raw_query);
            let signed = self.ports().into_iter().map(|port| signed_text(&url(port), form.iter())).collect();
            self.check(signed, headers)
        });
        outcome.map_err(|cause| self.refusal(cause, scheme, route, raw_query, &form))
    }

    /// Checks the upgrade request of a WebSocket at our `route`.
    ///
    /// # Errors
    /// A [`Refusal`] that is fit for a log line.
    pub fn upgrade(&self, route: &str, raw_query: Option<&str>, headers: SignatureHeaders<'_>) -> Result<(), Refusal> {
        let transport = self.public_url.transport();
        let parameters = Fields::decode(raw_query.unwrap_or_default().as_bytes());
        let bare = route.trim_end_matches('/');
        let mut signed = Vec::new();
        for scheme in [transport.ws(), transport.http()] {
            for route in [bare.to_owned(), format!("{bare}/")] {
                for port in self.ports() {
                    let url = self.public_url.url(scheme, port, &route);
                    signed.push(with_query(url.clone(), raw_query));
                    // Twilio's own agent server signs the pairs of a query as if they were form parameters.
                    if raw_query.is_some() {
                        signed.push(signed_text(&url, parameters.iter()));
                    }
                }
            }
        }
        let nothing = Fields::default();
        self.check(signed, headers).map_err(|cause| self.refusal(cause, transport.ws(), route, raw_query, &nothing))
    }

    /// The ports that the signed URL may show: as configured, none, the scheme's own.
    fn ports(&self) -> BTreeSet<Option<u16>> {
        [self.public_url.port(), None, Some(self.public_url.transport().default_port())].into()
    }

    /// Compares with every candidate and never stops early, so that time tells nothing about which one was near.
    fn check(&self, signed: Vec<String>, headers: SignatureHeaders<'_>) -> Result<(), Cause> {
        let given = headers.signature.ok_or(Cause::Missing)?;
        let given = STANDARD.decode(given.trim()).map_err(|_| Cause::Encoding)?;
        let (algorithm, key) = self.key(headers.settings)?;
        let matched = signed.iter().fold(Choice::from(0), |matched, text| {
            matched | mac(algorithm, key.expose().as_bytes(), text.as_bytes()).ct_eq(given.as_slice())
        });
        if bool::from(matched) { Ok(()) } else { Err(Cause::Mismatch) }
    }

    fn key(&self, settings: Option<&str>) -> Result<(Algorithm, &Secret), Cause> {
        let settings = read_settings(settings.unwrap_or_default())?;
        let key = match settings.algorithm {
            Algorithm::HmacSha1 => self.auth_token.as_ref().ok_or(Cause::Token)?,
            Algorithm::HmacSha256 => settings.key.and_then(|id| self.shared_keys.get(id)).ok_or(Cause::Key)?,
        };
        Ok((settings.algorithm, key))
    }

    fn refusal(&self, cause: Cause, scheme: &'static str, route: &str, query: Option<&str>, form: &Fields) -> Refusal {
        // Names come from whoever sent the request: without limits a stranger could flood or forge the log.
        const NAMES_MAX: usize = 64;
        const NAME_CHARS_MAX: usize = 64;
        let printable = |text: &str| text.chars().filter(|c| !c.is_control()).take(NAME_CHARS_MAX).collect::<String>();
        let query = Fields::decode(query.unwrap_or_default().as_bytes());
        let names: BTreeSet<&str> = query.iter().chain(form.iter()).map(|(name, _)| name).collect();
        Refusal {
            cause,
            scheme,
            host: self.public_url.host().to_owned(),
            port: self.public_url.port(),
            path: format!("{}{}", self.public_url.prefix(), printable(route)),
            parameters: names.into_iter().take(NAMES_MAX).map(printable).collect(),
        }
    }
}

/// Signs `url` and `parameters` as Twilio does: for what we ask in its place, and for tests.
pub fn sign(algorithm: Algorithm, key: &str, url: &str, parameters: &[(&str, &str)]) -> String {
    STANDARD.encode(mac(algorithm, key.as_bytes(), signed_text(url, parameters.iter().copied()).as_bytes()))
}

fn mac(algorithm: Algorithm, key: &[u8], text: &[u8]) -> Vec<u8> {
    fn run<M: Mac + KeyInit>(key: &[u8], text: &[u8]) -> Vec<u8> {
        #[expect(clippy::expect_used, reason = "HMAC takes keys of every length")]
        let mut mac = <M as KeyInit>::new_from_slice(key).expect("a key of any length");
        mac.update(text);
        mac.finalize().into_bytes().to_vec()
    }
    match algorithm {
        Algorithm::HmacSha1 => run::<Hmac<Sha1>>(key, text),
        Algorithm::HmacSha256 => run::<Hmac<Sha256>>(key, text),
    }
}

/// The URL, then each distinct pair sorted by the bytes of name and value (`A` before `a`), without separators.
fn signed_text<'a>(url: &str, parameters: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let sorted: BTreeSet<(&str, &str)> = parameters.collect();
    sorted.into_iter().fold(url.to_owned(), |text, (name, value)| text + name + value)
}

fn with_query(url: String, raw_query: Option<&str>) -> String {
    match raw_query {
        Some(query) => format!("{url}?{query}"),
        None => url,
    }
}

fn check_digest(raw_query: Option<&str>, body: Body<'_>) -> Result<(), Cause> {
    let body = match body {
        Body::Json(body) => body,
        Body::Empty | Body::Form(_) => return Ok(()),
    };
    let query = Fields::decode(raw_query.unwrap_or_default().as_bytes());
    let given = query.get(BODY_DIGEST).ok_or(Cause::Digest)?.to_ascii_lowercase();
    let ours: String = Sha256::digest(body).iter().map(|byte| format!("{byte:02x}")).collect();
    if bool::from(ours.as_bytes().ct_eq(given.as_bytes())) { Ok(()) } else { Err(Cause::Digest) }
}

struct Settings<'a> {
    algorithm: Algorithm,
    key: Option<&'a str>,
}

/// Reads `key=<id>,algorithm=HMAC_SHA256`; parts that we do not know are let pass, an unknown algorithm is not.
fn read_settings(header: &str) -> Result<Settings<'_>, Cause> {
    let mut settings = Settings { algorithm: Algorithm::HmacSha1, key: None };
    let mut seen = BTreeSet::new();
    for part in header.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (name, value) = part.split_once('=').ok_or(Cause::Settings)?;
        // Two answers to one question would leave the choice of key to the sender.
        if !seen.insert(name.trim()) {
            return Err(Cause::Settings);
        }
        match (name.trim(), value.trim()) {
            ("algorithm", "HMAC_SHA1") => settings.algorithm = Algorithm::HmacSha1,
            ("algorithm", "HMAC_SHA256") => settings.algorithm = Algorithm::HmacSha256,
            ("algorithm", _) => return Err(Cause::Algorithm),
            ("key", id) => settings.key = Some(id),
            _ => {}
        }
    }
    Ok(settings)
}

#[cfg(test)]
#[path = "signature_tests.rs"]
mod tests;
