//! The carrier's signature on a request: the emulator's own, apart from the gateway's check of it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;

use super::plan::AuthToken;

/// The header that carries it.
pub(super) const HEADER: &str = "x-twilio-signature";

/// HMAC-SHA1 under the account's token over the URL as the carrier knows it, followed by each form parameter's name and
/// value, sorted by name; in base64. A WebSocket upgrade has no parameters.
#[expect(clippy::expect_used, reason = "HMAC takes a key of any length")]
pub(super) fn sign(token: &AuthToken, url: &str, form: &[(String, String)]) -> String {
    let mut mac = Hmac::<Sha1>::new_from_slice(token.secret().as_bytes()).expect("any key length will do");
    mac.update(url.as_bytes());
    let mut sorted: Vec<&(String, String)> = form.iter().collect();
    sorted.sort();
    for (name, value) in sorted {
        mac.update(name.as_bytes());
        mac.update(value.as_bytes());
    }
    STANDARD.encode(mac.finalize().into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Computed with the vendor's own Python library for the token `12345`.
    #[test]
    fn signatures_agree_with_the_vendors() {
        let sign = |url: &str, form: &[(&str, &str)]| {
            let form: Vec<(String, String)> = form.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
            sign(&AuthToken::new("12345"), url, &form)
        };
        assert_eq!(sign("wss://gw.example.com/twilio/media", &[]), "xOtUNom2O6Ixz0xt8ODDv8MkQUY=");
        assert_eq!(sign("wss://gw.example.com:8443/twilio/media", &[]), "7hqIIwzvvK8nuvJOR1l8HbbgqOg=");
        assert_eq!(
            sign("https://gw.example.com/x", &[("a", "1"), ("A", "0"), ("b", "2")]),
            "VYfbRV8RWOfbPC1kc+mE8rbwcjY="
        );
        let call = [
            ("To", "+18005551212"),
            ("From", "+14158675309"),
            ("Digits", "1234"),
            ("Caller", "+14158675309"),
            ("CallSid", "CA1234567890ABCDE"),
        ];
        assert_eq!(sign("https://mycompany.com/myapp.php?foo=1&bar=2", &call), "RSOYDt4T1cUTdK1PDd93/VVr8B8=");
    }
}
