//! Who is believed: open mode, signed mode without a signature, `--insecure`.

use tokio::net::TcpListener;

use crate::support::gateway::{API_TOKEN, Gateway};
use crate::support::http::Request;
use crate::support::phone::Phone;

/// Every route of the API, with its method.
const API: [(&str, &str); 12] = [
    ("GET", "/v1/calls"),
    ("GET", "/v1/calls/CA1"),
    ("DELETE", "/v1/calls/CA1"),
    ("POST", "/v1/calls/CA1/say"),
    ("POST", "/v1/calls/CA1/clear"),
    ("POST", "/v1/calls"),
    ("POST", "/v1/calls/CA1/transfer"),
    ("POST", "/v1/calls/CA1/redirect"),
    ("POST", "/v1/calls/CA1/digits"),
    ("GET", "/v1/calls/CA1/events"),
    ("GET", "/metrics"),
    // Not even which methods there are is told to strangers.
    ("PUT", "/v1/calls/CA1"),
];

#[tokio::test]
async fn a_foreign_host_and_any_origin_are_refused_in_open_mode() {
    let gateway = Gateway::open("").await;
    let port = gateway.address.port();
    let ask = |path: &str, name: &str, value: &str| Request::new("GET", path).header(name, value).send(gateway.address);
    for path in ["/v1/calls", "/healthz", "/metrics", "/twilio/voice?CallSid=CA1", "/twilio/media", "/nowhere"] {
        for host in ["example.com", "rebound.example.com:8080", "10.0.0.1", "localhost.example.com", ""] {
            assert_eq!(ask(path, "Host", host).await.status, 403, "{path} {host}");
        }
        for origin in ["https://example.com", "null", &format!("http://127.0.0.1:{port}")] {
            assert_eq!(ask(path, "Origin", origin).await.status, 403, "{path} {origin}");
        }
    }
    for host in ["localhost", "127.0.0.1", "[::1]:80", &format!("localhost:{port}")] {
        assert_eq!(ask("/v1/calls", "Host", host).await.status, 200, "{host}");
    }
    for headers in [[("Origin", "https://example.com")], [("Host", "example.com")]] {
        let refused = Phone::dial(gateway.address, "/twilio/media", &headers).await.err().unwrap();
        assert_eq!(refused.status, 403, "{headers:?}");
    }
    assert_eq!(gateway.metric("trunkline_refused_total{kind=\"host\"}").await, 31.0);
}

#[tokio::test]
async fn the_api_token_is_wanted_as_soon_as_there_is_trust() {
    for (method, path) in API {
        // One for each: whoever fails too often is told to wait.
        let gateway = Gateway::signed("https://gw.example.com", "").await;
        let wrong = format!("Bearer {}x", API_TOKEN);
        for given in [None, Some("Bearer"), Some("Bearer "), Some(wrong.as_str()), Some(API_TOKEN), Some("Basic Og==")]
        {
            let request = Request::new(method, path);
            let request = given.iter().fold(request, |request, value| request.header("Authorization", value));
            let answer = request.send(gateway.address).await;
            assert_eq!(answer.status, 401, "{method} {path} {given:?}");
            assert_eq!(answer.headers["www-authenticate"], "Bearer");
        }
        let scheme = format!("bearer {API_TOKEN}");
        let answer = Request::new(method, path).header("Authorization", &scheme).send(gateway.address).await;
        assert_ne!(answer.status, 401, "{method} {path}");
    }
    let gateway = Gateway::signed("https://gw.example.com", "").await;
    // Whoever watches over the process has no token, and learns nothing.
    for path in ["/healthz", "/readyz"] {
        assert_eq!(Request::new("GET", path).send(gateway.address).await.status, 200);
    }
    // Behind a proxy a foreign host is the usual case, and an origin proves nothing: the token does.
    let foreign =
        gateway.api("GET", "/v1/calls").header("Host", "gw.example.com").header("Origin", "https://a.example");
    assert_eq!(foreign.send(gateway.address).await.status, 200);
}

#[tokio::test]
async fn insecure_asks_for_nothing() {
    let toml = "server.public_url = \"https://gw.example.com\"\ntwilio.auth_token = \"12345\"";
    let gateway = Gateway::start(toml, true, TcpListener::bind("127.0.0.1:0").await.unwrap()).await;
    let foreign = Request::new("GET", "/v1/calls").header("Host", "example.com").header("Origin", "https://a.example");
    assert_eq!(foreign.send(gateway.address).await.status, 200);
    let webhook = Request::new("POST", "/twilio/voice").form("CallSid=CA1").send(gateway.address).await;
    assert!(webhook.body.contains("wss://gw.example.com/twilio/media"), "{webhook:?}");
    gateway.call("CA1").await;
}
