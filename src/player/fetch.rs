//! Fetching a file over HTTP: what may be asked for, how much of the answer is read, how long it may be kept.

use std::time::Duration;

use reqwest::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, HeaderMap, LOCATION};
use reqwest::{Client, Response, Url};

use crate::http::outbound::{Guarded, Outbound, Purpose, Refused, refusal_of};
use crate::http::{self, BodyEnd, HttpError};

/// Redirects that are followed.
const REDIRECTS_MAX: usize = 3;
/// How long a recording is kept whose server says nothing about it.
const KEEP_DEFAULT: Duration = Duration::from_secs(300);
/// Longest time that a recording is kept, whatever its server says.
const KEEP_MAX: Duration = Duration::from_secs(3_600);
/// What we can play.
const WANTED: &str = "audio/mpeg, audio/wav, audio/x-wav;q=0.9, application/octet-stream;q=0.5";
/// Content types of what we can play. Some servers know no better than to call everything a stream of bytes.
const TYPES: [&str; 13] = [
    "audio/mpeg",
    "audio/mp3",
    "audio/x-mp3",
    "audio/mpeg3",
    "audio/x-mpeg-3",
    "audio/mpg",
    "audio/wav",
    "audio/wave",
    "audio/x-wav",
    "audio/x-pn-wav",
    "audio/vnd.wave",
    "application/octet-stream",
    "binary/octet-stream",
];

/// Why a file could not be fetched. No variant holds any of its URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// It is no URL of something on the web.
    #[error("the source is not an http or https url with a host")]
    Url,
    /// It would come unencrypted.
    #[error("the source is http, and player.allow_http is not set")]
    Plain,
    /// Whoever has it may not be asked.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// No connection, or no answer on it.
    #[error("the server of the recording cannot be reached")]
    Unreachable,
    /// An answer that is no success.
    #[error("the server of the recording answered {0}")]
    Status(u16),
    /// A redirect too many, or one without a target.
    #[error("the recording is behind more than {REDIRECTS_MAX} redirects, or one to nowhere")]
    Redirect,
    /// It is no WAV and no MP3, by what its server says.
    #[error("the content type is not that of a wav or mp3 file")]
    Kind,
    /// It is too long.
    #[error("the file is longer than player.max_mib allows")]
    Long,
    /// The connection broke before the end of the file.
    #[error("the connection broke before the end of the file")]
    Cut,
}

/// A file as it came.
#[derive(Debug)]
pub(super) struct Fetched {
    pub(super) file: Vec<u8>,
    /// How long it may be kept; `None`: not at all.
    pub(super) keep: Option<Duration>,
}

/// Fetches files over one pool of connections.
pub(super) struct Fetcher {
    guarded: Guarded,
    allow_http: bool,
    bytes_max: usize,
}

impl Fetcher {
    /// A fetcher that trusts the authorities of the web. It asks no proxy, sends no referrer, and follows redirects itself,
    /// so that each of them is checked as the first URL was.
    pub(super) fn new(allow_http: bool, bytes_max: usize, outbound: &Outbound) -> Result<Self, HttpError> {
        let guarded = Guarded::new(http::Settings::default(), outbound, Purpose::Play)?;
        Ok(Fetcher { guarded, allow_http, bytes_max })
    }

    /// The one door: every URL passes it before anybody is asked for it, also those of redirects.
    pub(super) fn admit(&self, url: &str) -> Result<(&Client, Url), FetchError> {
        let url = Url::parse(url).map_err(|_| FetchError::Url)?;
        match url.scheme() {
            "https" => {}
            "http" if self.allow_http => {}
            "http" => return Err(FetchError::Plain),
            _ => return Err(FetchError::Url),
        }
        if url.has_host() { Ok((self.guarded.client(&url)?, url)) } else { Err(FetchError::Url) }
    }

    /// Fetches a file. It has no limit of time of its own, and may be dropped at any point.
    pub(super) async fn fetch(&self, url: &str) -> Result<Fetched, FetchError> {
        let (mut client, mut url) = self.admit(url)?;
        for _ in 0..=REDIRECTS_MAX {
            let asked = client.get(url.clone()).header(ACCEPT, WANTED).send();
            let failed = |error| refusal_of(&error).map_or(FetchError::Unreachable, FetchError::Refused);
            let answer = asked.await.map_err(failed)?;
            if answer.status().is_redirection() {
                let target = answer.headers().get(LOCATION).and_then(|target| target.to_str().ok());
                let target = target.and_then(|target| url.join(target).ok()).ok_or(FetchError::Redirect)?;
                (client, url) = self.admit(target.as_str())?;
                continue;
            }
            if answer.status() != reqwest::StatusCode::OK {
                return Err(FetchError::Status(answer.status().as_u16()));
            }
            if !is_wanted(answer.headers()) {
                return Err(FetchError::Kind);
            }
            let keep = keep_of(answer.headers());
            return Ok(Fetched { file: self.body(answer).await?, keep });
        }
        Err(FetchError::Redirect)
    }

    async fn body(&self, answer: Response) -> Result<Vec<u8>, FetchError> {
        let is_longer = |bytes: u64| usize::try_from(bytes).map_or(true, |bytes| bytes > self.bytes_max);
        if answer.content_length().is_some_and(is_longer) {
            return Err(FetchError::Long);
        }
        match http::read(answer, self.bytes_max).await {
            (file, BodyEnd::Whole) => Ok(file),
            (_, BodyEnd::Long) => Err(FetchError::Long),
            (_, BodyEnd::Cut) => Err(FetchError::Cut),
        }
    }
}

/// Whether an answer may be a recording. A server that does not say may have one.
fn is_wanted(headers: &HeaderMap) -> bool {
    let Some(kind) = headers.get(CONTENT_TYPE) else { return true };
    let kind = kind.to_str().unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    TYPES.contains(&kind.as_str())
}

/// How long an answer may be kept: `max-age` of its `Cache-Control`, not beyond an hour; five minutes if it has none; not at
/// all with `no-store` or `no-cache`. We ask for nothing again by condition, so that the rest of the header is idle.
fn keep_of(headers: &HeaderMap) -> Option<Duration> {
    let values = headers.get_all(CACHE_CONTROL).into_iter().filter_map(|value| value.to_str().ok());
    let mut keep = KEEP_DEFAULT;
    for rule in values.flat_map(|value| value.split(',')) {
        let (name, value) = rule.split_once('=').unwrap_or((rule, ""));
        match name.trim().to_ascii_lowercase().as_str() {
            "no-store" | "no-cache" => return None,
            "max-age" => {
                let seconds = value.trim().trim_matches('"').parse().unwrap_or(0);
                keep = Duration::from_secs(seconds).min(KEEP_MAX);
            }
            _ => {}
        }
    }
    (!keep.is_zero()).then_some(keep)
}

#[cfg(test)]
mod tests {
    use super::*;
    use reqwest::header::HeaderValue;

    #[test]
    fn only_the_web_is_asked_and_only_encrypted() {
        let strict = Fetcher::new(false, 1, &Outbound::default()).unwrap();
        let admitted = |fetcher: &Fetcher, url: &str| fetcher.admit(url).map(drop);
        assert_eq!(admitted(&strict, "https://example.com/a.wav?b=c"), Ok(()));
        assert_eq!(admitted(&strict, "http://example.com/a.wav"), Err(FetchError::Plain));
        for url in ["", "a.wav", "/a.wav", "file:///a.wav", "ftp://example.com/a.wav", "data:audio/wav,", "https://"] {
            assert_eq!(admitted(&strict, url), Err(FetchError::Url), "{url}");
        }
        assert_eq!(admitted(&Fetcher::new(true, 1, &Outbound::default()).unwrap(), "http://example.com/a.wav"), Ok(()));
    }

    #[test]
    fn a_recording_is_kept_as_long_as_its_server_says_within_an_hour() {
        let keep = |values: &[&'static str]| {
            let values = values.iter().map(|value| (CACHE_CONTROL, HeaderValue::from_static(value)));
            keep_of(&values.fold(HeaderMap::new(), |mut all, (name, value)| {
                all.append(name, value);
                all
            }))
            .map(|keep| keep.as_secs())
        };
        assert_eq!(keep(&[]), Some(300));
        assert_eq!(keep(&["public, Max-Age=60"]), Some(60));
        assert_eq!(keep(&["max-age=31536000, immutable"]), Some(3_600));
        assert_eq!(keep(&["public", "max-age=\"90\""]), Some(90));
        for none in ["no-store", "max-age=60, No-Store", "no-cache", "max-age=0", "max-age=soon"] {
            assert_eq!(keep(&[none]), None, "{none}");
        }
    }

    #[test]
    fn what_is_no_sound_by_its_type_is_not_read() {
        let wanted = |kind: &str| is_wanted(&HeaderMap::from_iter([(CONTENT_TYPE, kind.parse().unwrap())]));
        assert!(is_wanted(&HeaderMap::new()));
        assert!(wanted("audio/mpeg") && wanted("Audio/WAV; charset=binary") && wanted("application/octet-stream"));
        assert!(!wanted("text/html; charset=utf-8") && !wanted("audio/ogg") && !wanted("video/mp4") && !wanted(""));
    }
}
