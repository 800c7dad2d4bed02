//! Signatures on webhook and upgrade, straight and behind a reverse proxy that does what proxies do.

use trunkline::server::twilio::signature::{Algorithm, SETTINGS_HEADER, SIGNATURE_HEADER, sign};

use crate::support::gateway::{AUTH_TOKEN, Gateway};
use crate::support::http::Request;
use crate::support::logs::Logs;
use crate::support::phone::Phone;
use crate::support::proxy::{Path, Proxy};

/// The form of the published vectors, as it goes over the wire.
const FORM: &str = "AccountSid=AC00000000000000000000000000000001&ApiVersion=2010-04-01&\
    CallSid=CA00000000000000000000000000000002&CallStatus=ringing&Called=%2B15550100002&Caller=%2B15550100001&\
    CallerName=&Direction=inbound&From=%2B15550100001&To=%2B15550100002";
const SHARED_KEY: &str = "a-shared-key-that-is-secret";
const SETTINGS: &str = "key=SK1,algorithm=HMAC_SHA256";

fn webhook(path: &str, signature: &str) -> Request {
    Request::new("POST", path).form(FORM).header(SIGNATURE_HEADER, signature)
}

fn fields() -> Vec<(String, String)> {
    form_urlencoded::parse(FORM.as_bytes()).into_owned().collect()
}

fn signed_form(algorithm: Algorithm, key: &str, url: &str) -> String {
    let fields = fields();
    let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    sign(algorithm, key, url, &fields)
}

#[tokio::test]
async fn the_vendors_own_signatures_are_accepted() {
    let gateway = Gateway::signed("https://gw.example.com", "").await;
    for (path, signature) in [
        ("/twilio/voice", "A7F6AL10gg9NZpZsN4nAlljdDsw="),
        // The port that the scheme means anyway may or may not be signed.
        ("/twilio/voice", "jjm6ub+RbvY6H0YkMyD7QbXIKWQ="),
    ] {
        let answer = webhook(path, signature).send(gateway.address).await;
        assert_eq!(answer.status, 200, "{signature}");
    }
    for (path, signature) in [
        ("/twilio/media", "xOtUNom2O6Ixz0xt8ODDv8MkQUY="),
        ("/twilio/media", "UywbZ+VAu0CMaP+9Bth3u5vAvXQ="),
        ("/twilio/media/", "xOtUNom2O6Ixz0xt8ODDv8MkQUY="),
        ("/twilio/media/", "UywbZ+VAu0CMaP+9Bth3u5vAvXQ="),
        ("/twilio/media", "l1kCkxwGIXa39FwZNOU5zimZCp0="),
        ("/twilio/media", "l0WzXexllA+2Nr2uoD32CYvxCeo="),
    ] {
        let upgraded = Phone::dial(gateway.address, path, &[(SIGNATURE_HEADER, signature)]).await;
        assert!(upgraded.is_ok(), "{path} {signature}");
    }
}

#[tokio::test]
async fn a_wrong_signature_is_refused_and_the_log_tells_what_was_checked_and_no_value() {
    let logs = Logs::take();
    let gateway = Gateway::signed("https://gw.example.com:8443/voice", "").await;
    let shared = signed_form(Algorithm::HmacSha256, SHARED_KEY, "https://gw.example.com:8443/voice/twilio/voice");
    for request in [
        webhook("/twilio/voice?tenant=acme", "A7F6AL10gg9NZpZsN4nAlljdDsw="),
        webhook("/twilio/voice?tenant=acme", "no base64"),
        webhook("/twilio/voice?tenant=acme", ""),
        Request::new("POST", "/twilio/voice?tenant=acme").form(FORM),
        webhook("/twilio/voice?tenant=acme", &shared).header(SETTINGS_HEADER, SETTINGS),
    ] {
        assert_eq!(request.send(gateway.address).await.status, 403);
    }
    // Right key, wrong algorithm, unknown key.
    for settings in ["key=SK2,algorithm=HMAC_SHA256", "algorithm=HMAC_SHA256", "key=SK1,algorithm=MD5", "key=SK1"] {
        let request = webhook("/twilio/voice", &shared).header(SETTINGS_HEADER, settings);
        assert_eq!(request.send(gateway.address).await.status, 403, "{settings}");
    }
    let text = logs.text();
    let line = text.lines().find(|line| line.contains("does not match")).unwrap();
    for part in ["scheme https", "host gw.example.com", "port 8443", "path /voice/twilio/voice", "Caller, CallerName"] {
        assert!(line.contains(part), "{part} in {line}");
    }
    assert!(line.contains("tenant"), "{line}");
    logs.holds_none_of(&["15550100001", "15550100002", "acme", "ringing", AUTH_TOKEN, SHARED_KEY, "A7F6AL10"]);
    assert_eq!(gateway.metric("trunkline_refused_total{kind=\"signature\"}").await, 9.0);

    // A node of its own has a line of its own: this one may have had it within the last second.
    let gateway = Gateway::signed("https://gw.example.com:8443/voice", "").await;
    let logs = Logs::take();
    for headers in [&[(SIGNATURE_HEADER, "xOtUNom2O6Ixz0xt8ODDv8MkQUY=")][..], &[]] {
        let refused = Phone::dial(gateway.address, "/twilio/media?session=secret", headers).await.err().unwrap();
        assert_eq!(refused.status, 403);
    }
    let line = logs.line("does not match");
    for part in ["scheme wss", "port 8443", "path /voice/twilio/media", "[session]"] {
        assert!(line.contains(part), "{part} in {line}");
    }
    logs.holds_none_of(&["secret", AUTH_TOKEN]);
    assert_eq!(gateway.metric("trunkline_refused_total{kind=\"signature\"}").await, 2.0);
}

#[tokio::test]
async fn the_shared_key_signs_webhook_and_upgrade() {
    let gateway = Gateway::signed("https://gw.example.com", "").await;
    let signature = signed_form(Algorithm::HmacSha256, SHARED_KEY, "https://gw.example.com/twilio/voice");
    let answer = webhook("/twilio/voice", &signature).header(SETTINGS_HEADER, SETTINGS).send(gateway.address).await;
    assert_eq!(answer.status, 200);
    let signature = sign(Algorithm::HmacSha256, SHARED_KEY, "wss://gw.example.com/twilio/media", &[]);
    let headers = [(SIGNATURE_HEADER, signature.as_str()), (SETTINGS_HEADER, SETTINGS)];
    assert!(Phone::dial(gateway.address, "/twilio/media", &headers).await.is_ok());
    assert!(Phone::dial(gateway.address, "/twilio/media", &headers[..1]).await.is_err());
}

/// One way of standing behind a proxy: the public URL, and what the proxy does to its path.
async fn behind(public_url: &str, path: Path) {
    let gateway = Gateway::signed(public_url, "").await;
    let proxy = Proxy::start(gateway.address, path).await;
    let authority = public_url.strip_prefix("https://").unwrap();
    let prefix = authority.find('/').map_or("", |at| authority[at..].trim_end_matches('/'));
    let origin = public_url.trim_end_matches('/');

    for query in ["", "?b=2&a=%41+x", "?"] {
        let url = format!("{origin}/twilio/voice{query}");
        let signature = signed_form(Algorithm::HmacSha1, AUTH_TOKEN, &url);
        let local = format!("{prefix}/twilio/voice{query}");
        let answer = webhook(&local, &signature).send(proxy.address).await;
        assert_eq!(answer.status, 200, "{url} {path:?}");
        let stream = format!("url=\"{}/twilio/media\"", origin.replace("https", "wss"));
        assert!(answer.body.contains(&stream), "{answer:?}");
        // The same, as the headers of a stranger would have it.
        let signature = signed_form(Algorithm::HmacSha1, AUTH_TOKEN, &format!("http://evil.example.com/evil{query}"));
        assert_eq!(webhook(&local, &signature).send(proxy.address).await.status, 403);
    }
    for route in ["/twilio/media", "/twilio/media/"] {
        for query in ["", "?token=abc123&foo=b%61r"] {
            let url = format!("{}{route}{query}", origin.replace("https", "wss"));
            let signature = sign(Algorithm::HmacSha1, AUTH_TOKEN, &url, &[]);
            let local = format!("{prefix}{route}{query}");
            let upgraded = Phone::dial(proxy.address, &local, &[(SIGNATURE_HEADER, &signature)]).await;
            assert!(upgraded.is_ok(), "{url} {path:?}");
            let other =
                sign(Algorithm::HmacSha1, AUTH_TOKEN, &format!("ws://evil.example.com/evil{route}{query}"), &[]);
            let refused = Phone::dial(proxy.address, &local, &[(SIGNATURE_HEADER, &other)]).await.err().unwrap();
            assert_eq!(refused.status, 403, "{url}");
        }
    }
    let status = format!("{origin}/twilio/stream-status");
    let signature = signed_form(Algorithm::HmacSha1, AUTH_TOKEN, &status);
    let answer = webhook(&format!("{prefix}/twilio/stream-status"), &signature).send(proxy.address).await;
    assert_eq!(answer.status, 204);
    let api = gateway.api("GET", &format!("{prefix}/v1/calls")).send(proxy.address).await;
    assert_eq!(api.status, 200);
}

#[tokio::test]
async fn behind_a_proxy_at_the_root() {
    behind("https://gw.example.com", Path::Kept).await;
    behind("https://gw.example.com:8443/", Path::Kept).await;
}

#[tokio::test]
async fn behind_a_proxy_that_keeps_the_prefix() {
    behind("https://gw.example.com/gateways/one/", Path::Kept).await;
    behind("https://gw.example.com:8443/v1", Path::Kept).await;
    behind("https://gw.example.com/:a/*b", Path::Kept).await;
}

#[tokio::test]
async fn behind_a_proxy_that_strips_the_prefix() {
    behind("https://gw.example.com:8443/gateways/one", Path::Stripped("/gateways/one")).await;
    // A prefix that looks like a part of our own routes.
    behind("https://gw.example.com/twilio", Path::Stripped("/twilio")).await;
    behind("https://gw.example.com/tw", Path::Stripped("/tw")).await;
}
