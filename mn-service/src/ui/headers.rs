//! Headers of the UI's answers: caching, encodings, and what keeps other sites' code out.

use axum::{
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use rand::RngCore as _;
use sha2::{Digest as _, Sha256};

use super::files::{File, PREPARED};

/// What the build writes where the nonce of an answer goes. Styles are made at run time and named by it.
const NONCE: &str = "__CSP_NONCE__";

/// Encodings that a client takes and the build prepares.
pub(super) fn encodings(asked: &HeaderMap) -> Vec<&'static str> {
    let values = asked.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    let mut taken = Vec::new();
    for part in values.flat_map(|value| value.split(',')) {
        let (name, quality) = part.split_once(';').unwrap_or((part, ""));
        let refused = quality.trim().strip_prefix("q=").is_some_and(|q| q.trim().parse() == Ok(0.0_f32));
        let prepared = PREPARED.iter().find(|(encoding, _)| name.trim().eq_ignore_ascii_case(encoding));
        taken.extend(prepared.filter(|_| !refused).map(|(encoding, _)| *encoding));
    }
    taken
}

/// Answer with a file; 304 when the client has it already.
pub(super) fn file(file: File, asked: &HeaderMap) -> Response {
    let tag = format!("\"{}\"", &hex::encode(Sha256::digest(&file.bytes))[..32]);
    let has_it = asked.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok()).is_some_and(|list| {
        list.split(',').map(|known| known.trim().trim_start_matches("W/")).any(|known| known == tag || known == "*")
    });
    let cache = if file.immutable { "public, max-age=31536000, immutable" } else { "no-cache" };
    let mut response = if has_it { StatusCode::NOT_MODIFIED.into_response() } else { file.bytes.into_response() };
    let headers = response.headers_mut();
    if has_it {
        headers.remove(header::CONTENT_TYPE);
    } else {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(file.kind));
        headers.extend(file.encoding.map(|name| (header::CONTENT_ENCODING, HeaderValue::from_static(name))));
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
    headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    headers.extend(HeaderValue::from_str(&tag).ok().map(|tag| (header::ETAG, tag)));
    response
}

/// Answer with the page; each is a new one because of its nonce.
pub(super) fn index(page: &str) -> Response {
    let mut bytes = [0_u8; 16];
    rand::rng().fill_bytes(&mut bytes);
    let nonce = BASE64_STANDARD.encode(bytes);
    let mut response = page.replace(NONCE, &nonce).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.extend(HeaderValue::from_str(&policy(&nonce)).ok().map(|text| (header::CONTENT_SECURITY_POLICY, text)));
    response
}

/// Own scripts, own styles, own connections; nothing from elsewhere and nothing inline.
fn policy(nonce: &str) -> String {
    format!(
        "default-src 'none'; script-src 'self'; style-src 'self' 'nonce-{nonce}'; img-src 'self' data: blob:; \
         font-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
}

/// Headers of every answer that is not the API's.
pub(super) fn secure(response: &mut Response) {
    let headers = response.headers_mut();
    headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(HeaderValue::from_static(
        "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ));
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (
            HeaderName::from_static("permissions-policy"),
            "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()",
        ),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asking(name: HeaderName, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_static(value))])
    }

    #[test]
    fn encodings_are_those_that_both_sides_know() {
        let of = |value| encodings(&asking(header::ACCEPT_ENCODING, value));
        assert_eq!(of("gzip, deflate, br, zstd"), ["gzip", "br"]);
        assert_eq!(of("br;q=0, GZIP;q=0.5"), ["gzip"]);
        assert!(of("identity").is_empty() && encodings(&HeaderMap::new()).is_empty());
    }

    #[test]
    fn a_file_that_the_client_has_is_not_sent_again() {
        let sample = || File { bytes: b"x".to_vec(), encoding: Some("br"), kind: "image/png", immutable: true };
        let first = file(sample(), &HeaderMap::new());
        let tag = first.headers()[header::ETAG].to_str().unwrap().to_owned();
        assert_eq!(
            (first.status(), &first.headers()[header::CONTENT_ENCODING]),
            (StatusCode::OK, &"br".parse().unwrap())
        );
        let again = HeaderMap::from_iter([(header::IF_NONE_MATCH, format!("\"old\", W/{tag}").parse().unwrap())]);
        assert_eq!(file(sample(), &again).status(), StatusCode::NOT_MODIFIED);
        assert_eq!(file(sample(), &asking(header::IF_NONE_MATCH, "\"old\"")).status(), StatusCode::OK);
    }

    #[test]
    fn every_page_has_a_nonce_of_its_own_and_its_policy_names_it() {
        let nonce_of = |response: &Response| {
            let policy = response.headers()[header::CONTENT_SECURITY_POLICY].to_str().unwrap().to_owned();
            policy.split("'nonce-").nth(1).unwrap().split('\'').next().unwrap().to_owned()
        };
        let (one, two) = (index("<meta content=\"__CSP_NONCE__\">"), index("__CSP_NONCE__"));
        assert_ne!(nonce_of(&one), nonce_of(&two));
        let policy = one.headers()[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
        assert!(!policy.contains("unsafe") && policy.starts_with("default-src 'none'"), "{policy}");
    }
}
