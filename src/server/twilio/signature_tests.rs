//! Every published vector, and every way in which a request must be refused.

use super::*;

const TOKEN: &str = "12345";
const GATEWAY: &str = "https://gw.example.com";
const SHA256_SETTINGS: &str = "key=KY1,algorithm=HMAC_SHA256";
const JSON_BODY: &[u8] = br#"{"property": "value", "boolean": true}"#;
const JSON_QUERY: &str = "bodySHA256=0a1ff7634d9ab3b95db5c9a2dfe9416e41502b283a80c7cf19632632f96e6620";
const CALL: &[(&str, &str)] = &[
    ("AccountSid", "AC00000000000000000000000000000001"),
    ("ApiVersion", "2010-04-01"),
    ("CallSid", "CA00000000000000000000000000000002"),
    ("CallStatus", "ringing"),
    ("Called", "+15550100002"),
    ("Caller", "+15550100001"),
    ("CallerName", ""),
    ("Direction", "inbound"),
    ("From", "+15550100001"),
    ("To", "+15550100002"),
];
const MANUAL: &[(&str, &str)] = &[
    ("CallSid", "CA1234567890ABCDE"),
    ("Caller", "+14158675309"),
    ("Digits", "1234"),
    ("From", "+14158675309"),
    ("To", "+18005551212"),
];

enum Kind {
    Webhook(&'static [(&'static str, &'static str)]),
    Json,
    Upgrade,
}

/// Public URL, route, raw query, kind, settings header, signature.
type Vector = (&'static str, &'static str, Option<&'static str>, Kind, Option<&'static str>, &'static str);

const VECTORS: [Vector; 16] = [
    (
        "https://mycompany.com",
        "/myapp.php",
        Some("foo=1&bar=2"),
        Kind::Webhook(MANUAL),
        None,
        "RSOYDt4T1cUTdK1PDd93/VVr8B8=",
    ),
    (GATEWAY, "/twilio/voice", None, Kind::Webhook(CALL), None, "A7F6AL10gg9NZpZsN4nAlljdDsw="),
    ("https://gw.example.com:443", "/twilio/voice", None, Kind::Webhook(CALL), None, "jjm6ub+RbvY6H0YkMyD7QbXIKWQ="),
    (
        GATEWAY,
        "/twilio/voice",
        None,
        Kind::Webhook(CALL),
        Some(SHA256_SETTINGS),
        "WvgxyxKRD+0re1Hb/OspZMB/IWtATm6UcCx+tNF58mI=",
    ),
    (GATEWAY, "/x", None, Kind::Webhook(&[("a", "1"), ("b", "2")]), None, "Lgryt1RtN9v5RPYrk8aDoUooWPU="),
    (GATEWAY, "/x", None, Kind::Webhook(&[("a", "1"), ("b", "2"), ("A", "0")]), None, "VYfbRV8RWOfbPC1kc+mE8rbwcjY="),
    (GATEWAY, "/twilio/media", None, Kind::Upgrade, None, "xOtUNom2O6Ixz0xt8ODDv8MkQUY="),
    (GATEWAY, "/twilio/media", None, Kind::Upgrade, None, "UywbZ+VAu0CMaP+9Bth3u5vAvXQ="),
    (GATEWAY, "/twilio/media", None, Kind::Upgrade, None, "l1kCkxwGIXa39FwZNOU5zimZCp0="),
    ("https://gw.example.com:8443", "/twilio/media", None, Kind::Upgrade, None, "7hqIIwzvvK8nuvJOR1l8HbbgqOg="),
    (GATEWAY, "/twilio/media", None, Kind::Upgrade, None, "l0WzXexllA+2Nr2uoD32CYvxCeo="),
    (GATEWAY, "/twilio/media", None, Kind::Upgrade, None, "fKgyH3Mtb7Lz+f8p96TvnxNiT3U="),
    (GATEWAY, "/twilio/relay", None, Kind::Upgrade, None, "HkrTGR9GuKJmZOov+8Ilrv/eTFk="),
    (GATEWAY, "/twilio/relay", Some("token=abc123&foo=bar"), Kind::Upgrade, None, "1xU5UYafRx+Kf3b+iwsfqe1zwGA="),
    (GATEWAY, "/twilio/relay", Some("token=abc123&foo=bar"), Kind::Upgrade, None, "VmIYUiYxXZ4WbnHfVT9cAQ77Nqo="),
    (GATEWAY, "/twilio/events", Some(JSON_QUERY), Kind::Json, None, "88OubjkE2Ui5k66qYKsYlv3ZdUo="),
];

/// The texts behind the vectors, in the same order: what `sign` must make of them.
const SIGNED_URLS: [&str; 16] = [
    "https://mycompany.com/myapp.php?foo=1&bar=2",
    "https://gw.example.com/twilio/voice",
    "https://gw.example.com:443/twilio/voice",
    "https://gw.example.com/twilio/voice",
    "https://gw.example.com/x",
    "https://gw.example.com/x",
    "wss://gw.example.com/twilio/media",
    "wss://gw.example.com/twilio/media/",
    "wss://gw.example.com:443/twilio/media",
    "wss://gw.example.com:8443/twilio/media",
    "https://gw.example.com/twilio/media",
    "https://gw.example.com/twilio/media/",
    "wss://gw.example.com/twilio/relay",
    "wss://gw.example.com/twilio/relay?token=abc123&foo=bar",
    "wss://gw.example.com/twilio/relay",
    "https://gw.example.com/twilio/events?bodySHA256=0a1ff7634d9ab3b95db5c9a2dfe9416e41502b283a80c7cf19632632f96e6620",
];

fn verifier(public_url: &str) -> Verifier {
    let keys = BTreeMap::from([("KY1".to_owned(), Secret::new(TOKEN))]);
    Verifier::new(PublicUrl::parse(public_url).unwrap(), Some(Secret::new(TOKEN)), keys)
}

fn form(parameters: &[(&str, &str)]) -> Vec<u8> {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish().into_bytes()
}

fn headers<'a>(signature: &'a str, settings: Option<&'a str>) -> SignatureHeaders<'a> {
    SignatureHeaders { signature: Some(signature), settings }
}

fn verify(vector: &Vector, signature: &str) -> Result<(), Refusal> {
    let (public_url, route, query, kind, settings, _) = vector;
    let (verifier, headers) = (verifier(public_url), headers(signature, *settings));
    match kind {
        Kind::Webhook(parameters) => verifier.webhook(route, *query, Body::Form(&form(parameters)), headers),
        Kind::Json => verifier.webhook(route, *query, Body::Json(JSON_BODY), headers),
        Kind::Upgrade => verifier.upgrade(route, *query, headers),
    }
}

#[test]
fn every_vector_is_accepted() {
    for (vector, url) in VECTORS.iter().zip(SIGNED_URLS) {
        assert_eq!(verify(vector, vector.5), Ok(()), "{url}");
    }
}

#[test]
fn every_vector_is_what_we_would_sign_ourselves() {
    for (index, (vector, url)) in VECTORS.iter().zip(SIGNED_URLS).enumerate() {
        let algorithm = if vector.4.is_some() { Algorithm::HmacSha256 } else { Algorithm::HmacSha1 };
        let parameters: &[(&str, &str)] = match vector.3 {
            Kind::Webhook(parameters) => parameters,
            // The one vector in which the query was signed as parameters.
            Kind::Upgrade if index == 14 => &[("token", "abc123"), ("foo", "bar")],
            Kind::Upgrade | Kind::Json => &[],
        };
        assert_eq!(sign(algorithm, TOKEN, url, parameters), vector.5, "{url}");
    }
}

#[test]
fn one_changed_byte_anywhere_in_a_signature_is_refused() {
    for vector in &VECTORS {
        let bytes = STANDARD.decode(vector.5).unwrap();
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            let refusal = verify(vector, &STANDARD.encode(changed)).unwrap_err();
            assert_eq!(refusal.cause, Cause::Mismatch);
        }
        assert_eq!(verify(vector, &STANDARD.encode(&bytes[..bytes.len() - 1])).unwrap_err().cause, Cause::Mismatch);
        assert_eq!(verify(vector, "").unwrap_err().cause, Cause::Mismatch);
    }
}

#[test]
fn a_signature_belongs_to_its_route_query_host_kind_and_parameters() {
    let signature = "A7F6AL10gg9NZpZsN4nAlljdDsw=";
    let body = form(CALL);
    let check = |gateway: &str, route: &str, query, body: &[u8]| {
        verifier(gateway).webhook(route, query, Body::Form(body), headers(signature, None)).map_err(|r| r.cause)
    };
    assert_eq!(check(GATEWAY, "/twilio/voice", None, &body), Ok(()));
    assert_eq!(check(GATEWAY, "/twilio/voices", None, &body), Err(Cause::Mismatch));
    assert_eq!(check(GATEWAY, "/twilio/voice", Some("a=1"), &body), Err(Cause::Mismatch));
    assert_eq!(check(GATEWAY, "/twilio/voice", Some(""), &body), Err(Cause::Mismatch));
    assert_eq!(check("https://gw.example.org", "/twilio/voice", None, &body), Err(Cause::Mismatch));
    assert_eq!(check("http://gw.example.com", "/twilio/voice", None, &body), Err(Cause::Mismatch));
    assert_eq!(check("https://gw.example.com/base", "/twilio/voice", None, &body), Err(Cause::Mismatch));
    let mut more = body.clone();
    more.extend_from_slice(b"&Blank=");
    assert_eq!(check(GATEWAY, "/twilio/voice", None, &more), Err(Cause::Mismatch), "a blank parameter counts");
    let fewer = form(&CALL[1..]);
    assert_eq!(check(GATEWAY, "/twilio/voice", None, &fewer), Err(Cause::Mismatch));
    let upgrade = verifier(GATEWAY).upgrade("/twilio/voice", None, headers(signature, None));
    assert_eq!(upgrade.unwrap_err().cause, Cause::Mismatch);
}

#[test]
fn repeated_parameters_are_signed_once_for_each_distinct_value_in_order() {
    let signature = sign(Algorithm::HmacSha1, TOKEN, "https://gw.example.com/x", &[("a", "1"), ("a", "2"), ("b", "")]);
    let check = |body: &[u8]| {
        verifier(GATEWAY).webhook("/x", None, Body::Form(body), headers(&signature, None)).map_err(|r| r.cause)
    };
    assert_eq!(check(b"b=&a=2&a=1&a=2"), Ok(()));
    assert_eq!(check(b"b=&a=2"), Err(Cause::Mismatch));
    // The same bytes without our sorting, so that `sign` and `verify` cannot agree on a common mistake.
    let by_hand = STANDARD.encode(mac(Algorithm::HmacSha1, TOKEN.as_bytes(), b"https://gw.example.com/xa1a2b"));
    assert_eq!(signature, by_hand);
}

#[test]
fn a_get_webhook_is_signed_with_its_raw_query() {
    let query = "CallSid=CA2&From=%2B15550100001&Name=a+b";
    let signature = sign(Algorithm::HmacSha1, TOKEN, &format!("{GATEWAY}/base/twilio/voice?{query}"), &[]);
    let check = |query| {
        verifier("https://gw.example.com/base/")
            .webhook("/twilio/voice", Some(query), Body::Empty, headers(&signature, None))
            .map_err(|r| r.cause)
    };
    assert_eq!(check(query), Ok(()));
    assert_eq!(
        check("CallSid=CA2&From=%2b15550100001&Name=a+b"),
        Err(Cause::Mismatch),
        "the query counts byte by byte"
    );
}

#[test]
fn a_configured_port_may_be_signed_or_left_out() {
    for (gateway, signed) in [
        ("https://gw.example.com:8443", "https://gw.example.com:8443/x"),
        ("https://gw.example.com:8443", "https://gw.example.com/x"),
        ("https://gw.example.com:8443", "https://gw.example.com:443/x"),
        ("http://gw.example.com", "http://gw.example.com:80/x"),
    ] {
        let signature = sign(Algorithm::HmacSha1, TOKEN, signed, &[]);
        let outcome = verifier(gateway).webhook("/x", None, Body::Form(b""), headers(&signature, None));
        assert_eq!(outcome, Ok(()), "{gateway} {signed}");
    }
    let signature = sign(Algorithm::HmacSha1, TOKEN, "https://gw.example.com:80/x", &[]);
    assert!(verifier(GATEWAY).webhook("/x", None, Body::Form(b""), headers(&signature, None)).is_err());
}

#[test]
fn headers_that_cannot_be_right_are_refused_by_their_fault() {
    let good = "xOtUNom2O6Ixz0xt8ODDv8MkQUY=";
    let check = |signature, settings| {
        let headers = SignatureHeaders { signature, settings };
        verifier(GATEWAY).upgrade("/twilio/media", None, headers).map_err(|refusal| refusal.cause)
    };
    let url = "wss://gw.example.com/twilio/media";
    let sha256 = sign(Algorithm::HmacSha256, TOKEN, url, &[]);
    let cases = [
        (Some(good), None, Ok(())),
        (Some(good), Some("key=KY1"), Ok(())),
        (Some(good), Some("algorithm=HMAC_SHA1"), Ok(())),
        (Some(sha256.as_str()), Some(" algorithm=HMAC_SHA256 , key=KY1, later=1 "), Ok(())),
        (None, None, Err(Cause::Missing)),
        (None, Some(SHA256_SETTINGS), Err(Cause::Missing)),
        (Some("not base64!"), None, Err(Cause::Encoding)),
        (Some(good), Some(SHA256_SETTINGS), Err(Cause::Mismatch)),
        (Some(sha256.as_str()), None, Err(Cause::Mismatch)),
        (Some(good), Some("algorithm=HMAC_MD5"), Err(Cause::Algorithm)),
        (Some(good), Some("algorithm="), Err(Cause::Algorithm)),
        (Some(sha256.as_str()), Some("key=KY2,algorithm=HMAC_SHA256"), Err(Cause::Key)),
        (Some(sha256.as_str()), Some("algorithm=HMAC_SHA256"), Err(Cause::Key)),
        (Some(sha256.as_str()), Some("key=KY2,key=KY1,algorithm=HMAC_SHA256"), Err(Cause::Settings)),
        (Some(good), Some("HMAC_SHA256"), Err(Cause::Settings)),
    ];
    for (signature, settings, outcome) in cases {
        assert_eq!(check(signature, settings), outcome, "{signature:?} {settings:?}");
    }
}

#[test]
fn without_a_token_only_shared_keys_are_believed() {
    let keys = BTreeMap::from([("KY1".to_owned(), Secret::new(TOKEN))]);
    let verifier = Verifier::new(PublicUrl::parse(GATEWAY).unwrap(), None, keys);
    // An empty key must not stand in for the missing token.
    let empty = sign(Algorithm::HmacSha1, "", "wss://gw.example.com/twilio/media", &[]);
    let refusal = verifier.upgrade("/twilio/media", None, headers(&empty, None)).unwrap_err();
    assert_eq!(refusal.cause, Cause::Token);
    let sha256 = sign(Algorithm::HmacSha256, TOKEN, "wss://gw.example.com/twilio/media", &[]);
    assert_eq!(verifier.upgrade("/twilio/media", None, headers(&sha256, Some(SHA256_SETTINGS))), Ok(()));
}

#[test]
fn a_json_body_must_match_its_signed_digest() {
    let signature = "88OubjkE2Ui5k66qYKsYlv3ZdUo=";
    let check = |query, body| {
        verifier(GATEWAY)
            .webhook("/twilio/events", query, Body::Json(body), headers(signature, None))
            .map_err(|r| r.cause)
    };
    assert_eq!(check(Some(JSON_QUERY), b"{}"), Err(Cause::Digest));
    assert_eq!(check(None, JSON_BODY), Err(Cause::Digest));
    let other = "bodySHA256=44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
    assert_eq!(check(Some(other), b"{}"), Err(Cause::Mismatch), "a digest that nobody signed");
}

#[test]
fn a_refusal_names_what_was_checked_and_no_value() {
    let body = form(CALL);
    let refusal = verifier("https://gw.example.com:8443/base")
        .webhook("/twilio/voice", Some("tenant=acme-secret&x%0a%1b[31m=1"), Body::Form(&body), headers("AAAA", None))
        .unwrap_err();
    let line = refusal.to_string();
    assert_eq!(
        line,
        "the signature does not match; checked against scheme https, host gw.example.com, port 8443, path \
         /base/twilio/voice, parameters [AccountSid, ApiVersion, CallSid, CallStatus, Called, Caller, CallerName, \
         Direction, From, To, tenant, x[31m]"
    );
    let many: String = (0..1_000).map(|n| format!("{n:0100}=1&")).collect();
    let refusal =
        verifier(GATEWAY).webhook("/x", None, Body::Form(many.as_bytes()), headers("AAAA", None)).unwrap_err();
    assert!(refusal.to_string().len() < 6_000);
    assert!(!format!("{:?}", verifier(GATEWAY)).contains(TOKEN));
}
