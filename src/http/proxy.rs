//! Which proxy of the environment stands before a server.

use hyper_util::client::proxy::matcher::Matcher;
use reqwest::Url;

use super::is_loopback;

/// The proxy that a client with [`Proxies::Environment`](super::Proxies::Environment) asks for `url`, by the same rules: the
/// usual variables, `NO_PROXY` among them, and none towards loopback. What it answers may hold a password: not for logs.
pub fn proxy_for(url: &Url) -> Option<Url> {
    through(&Matcher::from_env(), url)
}

fn through(matcher: &Matcher, url: &Url) -> Option<Url> {
    if is_loopback(url) {
        return None;
    }
    let proxy = matcher.intercept(&url.as_str().parse().ok()?)?;
    proxy.uri().to_string().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_for_others_only() {
        let matcher = Matcher::builder().all("http://proxy.test:3128").no("near.test").build();
        let asked = |url: &str| through(&matcher, &url.parse().unwrap()).map(|proxy| proxy.to_string());
        assert_eq!(asked("https://model.test/v1").as_deref(), Some("http://proxy.test:3128/"));
        for direct in ["http://localhost:8000/v1", "http://127.0.0.2/", "http://[::1]:80/", "https://near.test/v1"] {
            assert_eq!(asked(direct), None, "{direct}");
        }
    }
}
