//! Who may do what over the API.

use std::collections::BTreeSet;

use trunkline::secret::Secret;
use trunkline::server::routes::routes;
use trunkline::server::tokens::{Grant, Scope};

use crate::support::gateway::{API_TOKEN, Gateway};
use crate::support::http::{Answer, Request};

const PUBLIC_URL: &str = "https://gw.example.com";

/// What each route asks for, written down by hand: a route that is added or changed has to be thought about here.
const EXPECTED: [(&str, &str, &str); 15] = [
    ("GET", "/v1/calls", "read"),
    ("POST", "/v1/calls", "calls"),
    ("GET", "/v1/calls/{id}", "read"),
    ("DELETE", "/v1/calls/{id}", "calls"),
    ("POST", "/v1/calls/{id}/say", "speak"),
    ("POST", "/v1/calls/{id}/play", "speak"),
    ("POST", "/v1/calls/{id}/clear", "speak"),
    ("POST", "/v1/calls/{id}/transfer", "calls"),
    ("POST", "/v1/calls/{id}/redirect", "calls"),
    ("POST", "/v1/calls/{id}/digits", "calls"),
    ("GET", "/v1/calls/{id}/events", "read"),
    ("GET", "/v1/voices", "read"),
    ("GET", "/v1/log", "admin"),
    ("PUT", "/v1/log", "admin"),
    ("GET", "/metrics", "metrics"),
];

/// A gateway with one token for each scope, called as the scope is, and one for two of them.
async fn gateway() -> Gateway {
    let token = |name: &str, scopes: &[Scope]| {
        format!("server.tokens.{name} = \"{}\"\n", Grant::new(&Secret::new(format!("token-{name}")), scopes))
    };
    let one: String = Scope::ALL.iter().map(|scope| token(scope.as_str(), &[*scope])).collect();
    let two = token("two", &[Scope::Read, Scope::Speak]);
    Gateway::signed(PUBLIC_URL, &format!("limits.source_rate = 0\n{one}{two}")).await
}

async fn asked(gateway: &Gateway, method: &str, path: &str, authorization: &[&str]) -> Answer {
    let request = Request::new(method, &path.replace("{id}", "CA1"));
    let request = authorization.iter().fold(request, |request, value| request.header("Authorization", value));
    request.send(gateway.address).await
}

#[test]
fn the_table_of_routes_is_the_one_that_was_thought_about() {
    let routes = routes();
    let found: BTreeSet<_> = routes.iter().map(|route| (route.method, route.path, route.scope.as_str())).collect();
    assert_eq!(found, EXPECTED.into());
    assert_eq!(routes.len(), EXPECTED.len());
}

#[tokio::test]
async fn every_route_lets_in_its_own_scope_and_no_other() {
    let gateway = gateway().await;
    for (method, path, wanted) in EXPECTED {
        for scope in Scope::ALL.map(Scope::as_str) {
            let answer = asked(&gateway, method, path, &[&format!("Bearer token-{scope}")]).await;
            let what = format!("{method} {path} with {scope}: {answer:?}");
            if scope == wanted {
                // There is no such call; what matters is that the request came through to where that is found out.
                assert!(![401, 403, 405, 429].contains(&answer.status), "{what}");
            } else {
                assert_eq!(answer.status, 403, "{what}");
                assert!(answer.body.contains(&format!("{wanted:?}")), "{what}");
                let challenge = format!("Bearer error=\"insufficient_scope\", scope=\"{wanted}\"");
                assert_eq!(answer.headers.get("www-authenticate"), Some(&challenge), "{what}");
            }
        }
        let two = asked(&gateway, method, path, &["Bearer token-two"]).await.status;
        assert_eq!(two == 403, !["read", "speak"].contains(&wanted), "{method} {path}: {two}");
        assert_eq!(asked(&gateway, method, path, &[]).await.status, 401, "{method} {path}");
        let all = asked(&gateway, method, path, &[&format!("Bearer {API_TOKEN}")]).await.status;
        assert!(![401, 403, 405].contains(&all), "{method} {path}: {all}");
    }
    let refused = EXPECTED.len() * 4 + EXPECTED.iter().filter(|(.., scope)| !["read", "speak"].contains(scope)).count();
    let counted = gateway.metric("trunkline_refused_total{kind=\"scope\"}").await;
    assert!((counted - refused as f64).abs() < 0.5, "{counted} of {refused}");
    for open in ["/healthz", "/readyz"] {
        assert_eq!(asked(&gateway, "GET", open, &[]).await.status, 200, "{open}");
    }
}

#[tokio::test]
async fn whoever_has_no_token_of_ours_learns_nothing_about_them() {
    let gateway = gateway().await;
    for values in [
        &["Bearer"][..],
        &["Bearer "],
        &["token-read"],
        &["Basic token-read"],
        &["Bearer token-rea"],
        &["Bearer token-readd"],
        &["Bearer TOKEN-READ"],
        &["Bearer token-read token-read"],
        &[&format!("Bearer {}", "x".repeat(4_000))],
        // The digest opens nothing.
        &[&format!(
            "Bearer {}",
            Grant::new(&Secret::new("token-read"), &[Scope::Read]).to_string().replace(" read", "")
        )],
        // A proxy in front may have looked at the other one.
        &["Bearer token-read", "Bearer token-read"],
        &["Bearer nonsense", "Bearer token-read"],
        &["Bearer token-read", "Basic x"],
    ] {
        let answer = asked(&gateway, "GET", "/v1/calls", values).await;
        assert_eq!(answer.status, 401, "{values:?}");
        assert_eq!(answer.headers.get("www-authenticate").map(String::as_str), Some("Bearer"));
    }
    for good in ["Bearer token-read", "bearer token-read", "BEARER  token-read"] {
        assert_eq!(asked(&gateway, "GET", "/v1/calls", &[good]).await.status, 200, "{good}");
    }
}

#[tokio::test]
async fn guessing_is_slowed_and_counted_and_locks_nobody_out() {
    let gateway = gateway().await;
    let mut answers = Vec::new();
    for n in 0..40 {
        answers.push(asked(&gateway, "GET", "/v1/calls", &[&format!("Bearer guess-{n}")]).await);
    }
    let statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
    assert_eq!(statuses[..30], [401; 30]);
    assert_eq!(statuses[30..], [429; 10]);
    let wait: u64 = answers[39].headers["retry-after"].parse().unwrap();
    assert!((1..=60).contains(&wait), "{wait}");
    // From the same address, as everybody behind one proxy.
    assert_eq!(asked(&gateway, "GET", "/v1/calls", &["Bearer token-read"]).await.status, 200);
    assert_eq!(asked(&gateway, "GET", "/metrics", &["Bearer token-read"]).await.status, 403);
    let count = async |kind: &str| gateway.metric(&format!("trunkline_refused_total{{kind=\"{kind}\"}}")).await;
    assert!((count("api_token").await - 30.0).abs() < 0.5 && (count("guessing").await - 10.0).abs() < 0.5);
}
