//! Who may open a socket: path, API version, credentials.

use tokio_tungstenite::tungstenite::handshake::server::Request;
use tokio_tungstenite::tungstenite::http::StatusCode;

use super::PATH;
use crate::emulate::tts::handshake::{Query, Refused, admit, authorization, last_header};

/// Checks a request and gives back the API version that it asks for.
///
/// Credentials: `Authorization: Bearer`, `X-API-Key`, or `api_key` / `access_token` in the query. Version:
/// `Cartesia-Version` or `cartesia_version` in the query, which wins; of several headers the last one holds.
pub(in crate::emulate) fn check(request: &Request, api_key: Option<&str>) -> Result<String, Refused> {
    if request.uri().path() != PATH {
        return Err(Refused::new(StatusCode::NOT_FOUND, "no such path"));
    }
    let (headers, query) = (request.headers(), Query::parse(request.uri().query()));
    let in_query = || query.get("access_token").or_else(|| query.get("api_key"));
    let key = authorization(headers, &["bearer"]).or_else(|| last_header(headers, "x-api-key")).or_else(in_query);
    admit(key, api_key)?;
    let version = query.get("cartesia_version").or_else(|| last_header(headers, "cartesia-version"));
    let version = version.filter(|version| is_date(version)).map(str::to_owned);
    version.ok_or(Refused::new(StatusCode::BAD_REQUEST, "the API version is missing or not a date"))
}

/// `YYYY-MM-DD`, not looking at a calendar.
fn is_date(text: &str) -> bool {
    let shape = |(index, byte): (usize, u8)| if matches!(index, 4 | 7) { byte == b'-' } else { byte.is_ascii_digit() };
    text.len() == 10 && text.bytes().enumerate().all(shape)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(uri: &str, headers: &[(&str, &str)], key: Option<&str>) -> Result<String, u16> {
        let mut request = Request::builder().uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        check(&request.body(()).unwrap(), key).map_err(|refused| refused.status.as_u16())
    }

    const VERSION: (&str, &str) = ("Cartesia-Version", "2026-03-01");

    #[test]
    fn credentials_are_taken_from_every_documented_place() {
        let version = Ok("2026-03-01".to_owned());
        for header in [("Authorization", "Bearer k"), ("authorization", "bearer k"), ("X-API-Key", "k")] {
            assert_eq!(checked(PATH, &[header, VERSION], Some("k")), version, "{header:?}");
        }
        for query in ["api_key=k", "access_token=k"] {
            assert_eq!(checked(&format!("{PATH}?{query}"), &[VERSION], Some("k")), version, "{query}");
        }
    }

    #[test]
    fn missing_or_wrong_credentials_are_unauthorised() {
        assert_eq!(checked(PATH, &[VERSION], None), Err(401));
        assert_eq!(checked(PATH, &[VERSION, ("X-API-Key", "")], None), Err(401));
        assert_eq!(checked(PATH, &[VERSION, ("Authorization", "Basic k")], None), Err(401));
        assert_eq!(checked(PATH, &[VERSION, ("X-API-Key", "other")], Some("k")), Err(401));
        assert_eq!(checked(PATH, &[VERSION, ("X-API-Key", "any")], None), Ok("2026-03-01".to_owned()));
    }

    #[test]
    fn the_version_of_the_query_wins_and_the_last_header_holds() {
        let key = ("X-API-Key", "k");
        let old = ("cartesia-version", "2025-04-16");
        assert_eq!(checked(PATH, &[key, old, VERSION], None), Ok("2026-03-01".to_owned()));
        let uri = format!("{PATH}?cartesia_version=2024-11-13");
        assert_eq!(checked(&uri, &[key, VERSION], None), Ok("2024-11-13".to_owned()));
        assert_eq!(checked(PATH, &[key], None), Err(400));
        assert_eq!(checked(PATH, &[key, ("Cartesia-Version", "latest")], None), Err(400));
        assert_eq!(checked("/other", &[key, VERSION], None), Err(404));
    }
}
