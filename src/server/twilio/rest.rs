//! Twilio's REST API, as far as calls need it: place one, end one, give one new instructions.
//!
//! A request is tried at most three times. A change of a call may be made twice, since the second says the same as the
//! first; so it is tried again after whatever may pass. Placing a call, and pressing keys on it, may not: they are tried
//! again only if the request certainly was not carried out, which is so when no connection came about, or when Twilio
//! said that there are too many requests.

use std::fmt;
use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBuilder};
use reqwest::header::RETRY_AFTER;
use reqwest::{StatusCode, Url};
use serde::Deserialize;
use tokio::time::{Instant, sleep, timeout};

use super::address::{Address, Digits};
use super::public_url::{PublicUrl, PublicUrlError};
use super::token::random_bytes;
use super::twiml::{self, TwimlError};
use crate::http::{Http, HttpError};
use crate::ids::CallSid;
use crate::secret::Secret;
use crate::server::web;

/// Tries of one request.
const TRIES: usize = 3;
/// Longest wait for one answer.
const TRY_LIMIT: Duration = Duration::from_secs(5);
/// Longest wait for all tries together. A wait that Twilio asks for and that does not fit into it is not begun.
const LIMIT: Duration = Duration::from_secs(12);
/// Shortest and longest wait between tries, before jitter.
const WAIT_MIN: Duration = Duration::from_millis(200);
const WAIT_MAX: Duration = Duration::from_secs(2);
/// Version of the API, the first part of every path.
const VERSION: &str = "2010-04-01";
/// Twilio's code for something that does not exist (any more).
const CODE_GONE: u32 = 20_404;
/// Longest instructions that Twilio takes inside a request, in characters.
const TWIML_CHARS_MAX: usize = 4_000;
/// Longest URL of instructions, in bytes.
const URL_BYTES_MAX: usize = 2_048;

/// What a client is made from.
pub struct Settings {
    /// Where the API is: `https://api.twilio.com`, a regional host, or a compatible server.
    pub api_url: PublicUrl,
    /// The account that calls belong to.
    pub account_sid: String,
    /// User name of the requests: the account id, or the id of an API key.
    pub user: String,
    /// Its password: the auth token, or the secret of that key.
    pub secret: Secret,
}

/// Why a request came to nothing. No variant holds a number, an address or a secret.
#[derive(Debug, thiserror::Error)]
pub enum RestError {
    /// The API said no.
    #[error("the carrier refused: http status {status}{}", .code.map(|code| format!(", code {code}")).unwrap_or_default())]
    Refused {
        /// HTTP status of the last answer.
        status: u16,
        /// Twilio's own code, if the answer names one; <https://www.twilio.com/docs/api/errors> explains it.
        code: Option<u32>,
    },
    /// There is no connection, or it broke.
    #[error("the carrier cannot be reached")]
    Unreachable(#[source] reqwest::Error),
    /// No answer within the limit. The request may have been carried out.
    #[error("the carrier did not answer in time")]
    Slow,
    /// The request was carried out, but the answer does not name the call.
    #[error("the carrier's answer cannot be read")]
    Answer,
    /// The configured URL cannot have a path.
    #[error("the api's url cannot be used")]
    Url,
}

/// What a change of a call came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Updated {
    /// The call was changed.
    Done,
    /// There is no such call any more: what was wanted of it is past.
    AlreadyGone,
}

/// What a call is to do next, checked. `Debug` shows the kind alone.
#[derive(Clone, PartialEq, Eq)]
pub enum Instructions {
    /// Ask there.
    Url(String),
    /// Do this.
    Twiml(String),
}

/// Why instructions cannot be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InstructionsError {
    /// No URL that could be asked.
    #[error("must be an https or http url: {0}")]
    Url(PublicUrlError),
    /// Too long for a URL.
    #[error("must be at most {URL_BYTES_MAX} bytes long")]
    LongUrl,
    /// No TwiML.
    #[error(transparent)]
    Twiml(#[from] TwimlError),
    /// Too long for a request.
    #[error("must be at most {TWIML_CHARS_MAX} characters long")]
    LongTwiml,
}

impl Instructions {
    /// The instructions at `url`, which the carrier asks for with a signed form.
    ///
    /// # Errors
    /// [`InstructionsError`].
    pub fn url(url: &str) -> Result<Self, InstructionsError> {
        if url.len() > URL_BYTES_MAX {
            return Err(InstructionsError::LongUrl);
        }
        let (front, query) = url.split_once('?').unwrap_or((url, ""));
        PublicUrl::parse(front).map_err(InstructionsError::Url)?;
        if query.chars().any(|c| !c.is_ascii_graphic()) {
            return Err(InstructionsError::Url(PublicUrlError::Path));
        }
        Ok(Instructions::Url(url.to_owned()))
    }

    /// TwiML that somebody else wrote.
    ///
    /// # Errors
    /// [`InstructionsError`].
    pub fn twiml(twiml: &str) -> Result<Self, InstructionsError> {
        if twiml.chars().count() > TWIML_CHARS_MAX {
            return Err(InstructionsError::LongTwiml);
        }
        twiml::check(twiml)?;
        Ok(Instructions::Twiml(twiml.to_owned()))
    }
}

impl fmt::Debug for Instructions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Instructions::Url(_) => "Instructions::Url",
            Instructions::Twiml(_) => "Instructions::Twiml",
        })
    }
}

/// A client of the API for one account. Cheap to clone; `Debug` shows no secret.
#[derive(Clone)]
pub struct Rest {
    http: Http,
    calls_url: Url,
    user: String,
    secret: Secret,
}

impl fmt::Debug for Rest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rest").field("host", &self.calls_url.host_str()).finish_non_exhaustive()
    }
}

impl Rest {
    /// A client; nothing is asked yet.
    ///
    /// # Errors
    /// [`RestSetupError`].
    pub fn new(settings: Settings) -> Result<Self, RestSetupError> {
        let mut calls_url = Url::parse(&settings.api_url.http_url("")).map_err(|_| RestSetupError::Url)?;
        calls_url.path_segments_mut().map_err(|()| RestSetupError::Url)?.pop_if_empty().extend([
            VERSION,
            "Accounts",
            &settings.account_sid,
        ]);
        Ok(Rest { http: web::client()?, calls_url, user: settings.user, secret: settings.secret })
    }

    /// Places a call, which asks `url` for instructions when it is answered; its id.
    ///
    /// Dropped while it waits, the call may have been placed.
    ///
    /// # Errors
    /// [`RestError`]. After [`RestError::Slow`], [`RestError::Answer`] and a status of 500 or above the call may have been
    /// placed all the same.
    pub async fn create(&self, to: &Address, from: &Address, url: &str) -> Result<CallSid, RestError> {
        #[derive(Deserialize)]
        struct Created {
            sid: String,
        }
        let form = [("To", to.as_str()), ("From", from.as_str()), ("Url", url), ("Method", "POST")];
        let body = self.post(self.url("Calls.json")?, &form, Repeat::IfNotCarriedOut).await?;
        let created: Created = serde_json::from_slice(&body.unwrap_or_default()).map_err(|_| RestError::Answer)?;
        CallSid::parse(&created.sid).map_err(|_| RestError::Answer)
    }

    /// Ends a call, also one that is still ringing.
    ///
    /// # Errors
    /// [`RestError`]; after every one of them the call may have ended.
    pub async fn hang_up(&self, call: &CallSid) -> Result<Updated, RestError> {
        self.update(call, &[("Status", "completed")], Repeat::Always).await
    }

    /// Gives a call other instructions, which ends its stream.
    ///
    /// # Errors
    /// [`RestError`].
    pub async fn redirect(&self, call: &CallSid, to: &Instructions) -> Result<Updated, RestError> {
        match to {
            Instructions::Url(url) => {
                self.update(call, &[("Url", url.as_str()), ("Method", "POST")], Repeat::Always).await
            }
            Instructions::Twiml(twiml) => self.update(call, &[("Twiml", twiml.as_str())], Repeat::Always).await,
        }
    }

    /// Connects a call with somebody else, which ends its stream.
    ///
    /// # Errors
    /// [`RestError`].
    pub async fn transfer(&self, call: &CallSid, to: &Address) -> Result<Updated, RestError> {
        self.update(call, &[("Twiml", &twiml::dial(to))], Repeat::Always).await
    }

    /// Presses keys on a call and sends it to the webhook at `next` afterwards. There is no other way than new instructions,
    /// and these end the stream: at `next` the call gets another one.
    ///
    /// # Errors
    /// [`RestError`].
    pub async fn send_digits(&self, call: &CallSid, digits: &Digits, next: &str) -> Result<Updated, RestError> {
        // Pressed twice they are other digits.
        self.update(call, &[("Twiml", &twiml::play_digits(digits, next))], Repeat::IfNotCarriedOut).await
    }

    async fn update(&self, call: &CallSid, form: &[(&str, &str)], repeat: Repeat) -> Result<Updated, RestError> {
        let mut url = self.url("Calls")?;
        url.path_segments_mut().map_err(|()| RestError::Url)?.push(&format!("{}.json", call.as_str()));
        match self.post(url, form, repeat).await {
            Ok(_) => Ok(Updated::Done),
            Err(RestError::Refused { status: 404, .. } | RestError::Refused { code: Some(CODE_GONE), .. }) => {
                Ok(Updated::AlreadyGone)
            }
            Err(error) => Err(error),
        }
    }

    fn url(&self, last: &str) -> Result<Url, RestError> {
        let mut url = self.calls_url.clone();
        url.path_segments_mut().map_err(|()| RestError::Url)?.push(last);
        Ok(url)
    }

    /// Posts a form until it is answered well, or the tries or the time are used up. The body, if it could be read.
    async fn post(&self, url: Url, form: &[(&str, &str)], repeat: Repeat) -> Result<Option<Vec<u8>>, RestError> {
        let until = Instant::now() + LIMIT;
        let seed = random_bytes().map_or(0, u64::from_be_bytes);
        let mut waits = ExponentialBuilder::new()
            .with_min_delay(WAIT_MIN)
            .with_max_delay(WAIT_MAX)
            .with_max_times(TRIES - 1)
            .with_jitter()
            .with_jitter_seed(seed)
            .build();
        loop {
            let limit = TRY_LIMIT.min(until.saturating_duration_since(Instant::now()));
            let answer = timeout(limit, self.ask(url.clone(), form)).await;
            let failed = match answer.unwrap_or(Err(Failed::unsure(RestError::Slow))) {
                Ok(body) => return Ok(body),
                Err(failed) => failed,
            };
            let is_allowed = match (failed.fate, repeat) {
                (Fate::Refused, _) | (Fate::Unsure, Repeat::IfNotCarriedOut) => false,
                (Fate::NotCarriedOut, _) | (Fate::Unsure, Repeat::Always) => true,
            };
            let Some(wait) = waits.next().filter(|_| is_allowed) else { return Err(failed.error) };
            let wait = failed.wait.unwrap_or_default().max(wait);
            if Instant::now() + wait >= until {
                return Err(failed.error);
            }
            tracing::debug!(error = %failed.error, wait_ms = wait.as_millis(), "a request to the carrier is tried again");
            sleep(wait).await;
        }
    }

    async fn ask(&self, url: Url, form: &[(&str, &str)]) -> Result<Option<Vec<u8>>, Failed> {
        let request = self.http.client(&url).post(url).basic_auth(&self.user, Some(self.secret.expose())).form(form);
        // The URL names the call and the account: it stays out of the error.
        let response = request.send().await.map_err(|error| Failed::on_the_way(error.without_url()))?;
        let status = response.status();
        let wait = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
        let body = web::body_of(response).await;
        if status.is_success() {
            return Ok(body);
        }
        #[derive(Deserialize)]
        struct Problem {
            code: Option<u32>,
        }
        let code = body.and_then(|body| serde_json::from_slice::<Problem>(&body).ok()?.code);
        let fate = if status == StatusCode::TOO_MANY_REQUESTS {
            Fate::NotCarriedOut
        } else if status.is_server_error() {
            Fate::Unsure
        } else {
            Fate::Refused
        };
        let error = RestError::Refused { status: status.as_u16(), code };
        Err(Failed { error, fate, wait: wait.map(Duration::from_secs) })
    }
}

/// Why there can be no client.
#[derive(Debug, thiserror::Error)]
pub enum RestSetupError {
    /// The URL of the API cannot have a path.
    #[error("the api's url cannot be used")]
    Url,
    /// The HTTP client.
    #[error(transparent)]
    Web(#[from] HttpError),
}

/// When a request may be made again.
#[derive(Clone, Copy)]
enum Repeat {
    /// Whatever became of it.
    Always,
    /// Only if nothing became of it.
    IfNotCarriedOut,
}

/// What became of a request that failed.
#[derive(Clone, Copy)]
enum Fate {
    /// It will be refused again.
    Refused,
    /// Nothing was done.
    NotCarriedOut,
    /// It may have been carried out.
    Unsure,
}

struct Failed {
    error: RestError,
    fate: Fate,
    /// What the carrier asked for.
    wait: Option<Duration>,
}

impl Failed {
    fn unsure(error: RestError) -> Self {
        Failed { error, fate: Fate::Unsure, wait: None }
    }

    fn on_the_way(error: reqwest::Error) -> Self {
        let fate = if error.is_connect() {
            Fate::NotCarriedOut
        } else if error.is_builder() {
            Fate::Refused
        } else {
            Fate::Unsure
        };
        let error =
            if error.is_timeout() && !error.is_connect() { RestError::Slow } else { RestError::Unreachable(error) };
        Failed { error, fate, wait: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rest(api_url: &str) -> Rest {
        let account_sid = "AC/1".to_owned();
        let api_url = PublicUrl::parse(api_url).unwrap();
        Rest::new(Settings { api_url, account_sid, user: "user".to_owned(), secret: Secret::new("secret") }).unwrap()
    }

    #[test]
    fn paths_are_built_from_names_whatever_these_hold() {
        for (base, expected) in [
            ("https://api.twilio.com", "https://api.twilio.com/2010-04-01/Accounts/AC%2F1/Calls.json"),
            (
                "https://api.dublin.ie1.twilio.com",
                "https://api.dublin.ie1.twilio.com/2010-04-01/Accounts/AC%2F1/Calls.json",
            ),
            ("http://127.0.0.1:9/laml/", "http://127.0.0.1:9/laml/2010-04-01/Accounts/AC%2F1/Calls.json"),
        ] {
            assert_eq!(rest(base).url("Calls.json").unwrap().as_str(), expected);
        }
        assert!(!format!("{:?}", rest("https://api.twilio.com")).contains("secret"));
    }

    #[test]
    fn instructions_are_checked_before_they_are_given() {
        let long = format!("https://a.example/{}", "x".repeat(URL_BYTES_MAX));
        assert!(Instructions::url("https://a.example:8443/b?c=d&e=%20").is_ok());
        for url in ["", "a.example", "ftp://a.example", "https://u:p@a.example/", "https://a.example/?a b", &long] {
            assert!(Instructions::url(url).is_err(), "{url}");
        }
        assert!(Instructions::twiml("<Response/>").is_ok());
        assert_eq!(Instructions::twiml("<Say/>"), Err(InstructionsError::Twiml(TwimlError)));
        let long = format!("<Response>{}</Response>", " ".repeat(TWIML_CHARS_MAX));
        assert_eq!(Instructions::twiml(&long), Err(InstructionsError::LongTwiml));
        assert_eq!(format!("{:?}", Instructions::url("https://a.example").unwrap()), "Instructions::Url");
    }
}
