//! Whether a callback comes from the payment provider: HMAC-SHA256 over timestamp, a dot and the body.
//!
//! The signature is checked before the time, so that nobody without the secret learns anything about our clock.
//! Several signatures may stand in the header while the provider changes its secret; one right one is enough.

use std::time::Duration;

use actix_web::http::header::HeaderMap;
use hmac::{Hmac, KeyInit, Mac};
use millrace_common::runtime::settings::Secret;
use sha2::Sha256;

pub(super) const TIMESTAMP_HEADER: &str = "X-Payment-Timestamp";
pub(super) const SIGNATURE_HEADER: &str = "X-Payment-Signature";
/// More than any change of secrets needs; each costs a comparison.
const SIGNATURES_MAX: usize = 4;

/// Checks callbacks with the shared secret.
#[derive(Clone)]
pub(crate) struct CallbackVerifier {
    mac: Hmac<Sha256>,
    window_seconds: u64,
}

/// Why a callback is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Distrust {
    #[error("header {0} is missing or given twice")]
    Header(&'static str),
    #[error("no signature in the header is right")]
    Signature,
    #[error("timestamp is outside the window")]
    OutsideWindow,
}

impl std::fmt::Debug for CallbackVerifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CallbackVerifier(window {} s)", self.window_seconds)
    }
}

impl CallbackVerifier {
    pub(crate) fn new(secret: &Secret, window: Duration) -> Self {
        let mac = Hmac::new_from_slice(secret.expose().as_bytes());
        Self { mac: mac.expect("HMAC takes keys of any length"), window_seconds: window.as_secs() }
    }

    /// Checks the headers for this body at this time (seconds since 1970-01-01 UTC).
    pub(super) fn check(&self, headers: &HeaderMap, body: &[u8], now: i64) -> Result<(), Distrust> {
        let timestamp = single(headers, TIMESTAMP_HEADER)?;
        let signatures = single(headers, SIGNATURE_HEADER)?;
        self.check_texts(timestamp, signatures, body, now)
    }

    fn check_texts(
        &self,
        timestamp: &str,
        signatures: &str,
        body: &[u8],
        now: i64,
    ) -> Result<(), Distrust> {
        let mut mac = self.mac.clone();
        mac.update(timestamp.as_bytes());
        mac.update(b".");
        mac.update(body);
        let right = signatures
            .split(',')
            .take(SIGNATURES_MAX)
            .filter_map(|signature| bytes_of_hex(signature.trim().strip_prefix("v1=")?))
            // `verify_slice` takes the same time wherever the first difference is.
            .any(|signature| mac.clone().verify_slice(&signature).is_ok());
        if !right {
            return Err(Distrust::Signature);
        }
        let signed_at: i64 = timestamp.parse().map_err(|_| Distrust::OutsideWindow)?;
        if now.abs_diff(signed_at) > self.window_seconds {
            return Err(Distrust::OutsideWindow);
        }
        Ok(())
    }
}

fn single<'a>(headers: &'a HeaderMap, name: &'static str) -> Result<&'a str, Distrust> {
    let mut values = headers.get_all(name);
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().map_err(|_| Distrust::Header(name)),
        (_, _) => Err(Distrust::Header(name)),
    }
}

fn bytes_of_hex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    // From the command line: printf '1700000000.{}' | openssl dgst -sha256 -hmac secret
    const GOOD: &str = "v1=b8569b78799ff9e3cbff0fc2d63a33a2b57f3282abd07c37ae5e8e7d79a5f163";
    const AT: i64 = 1_700_000_000;

    fn check(timestamp: &str, signatures: &str, body: &[u8], now: i64) -> Result<(), Distrust> {
        CallbackVerifier::new(&Secret::new("secret"), Duration::from_secs(300))
            .check_texts(timestamp, signatures, body, now)
    }

    #[test]
    fn a_right_signature_inside_the_window_is_believed() {
        let at = AT.to_string();
        for now in [AT, AT + 300, AT - 300] {
            assert_eq!(check(&at, GOOD, b"{}", now), Ok(()), "{now}");
        }
        let rotating = format!("v1=00ff, v0=zz, {GOOD}");
        assert_eq!(check(&at, &rotating, b"{}", AT), Ok(()));
    }

    #[test]
    fn anything_else_is_not() {
        let at = AT.to_string();
        let bare = GOOD.trim_start_matches("v1=");
        for (timestamp, signatures, body, now, distrust) in [
            (at.as_str(), GOOD, &b"{ }"[..], AT, Distrust::Signature),
            ("1700000001", GOOD, b"{}", AT, Distrust::Signature),
            (&at, "", b"{}", AT, Distrust::Signature),
            (&at, "v1=", b"{}", AT, Distrust::Signature),
            (&at, "v1=é", b"{}", AT, Distrust::Signature),
            (&at, bare, b"{}", AT, Distrust::Signature),
            (&at, &GOOD[..GOOD.len() - 2], b"{}", AT, Distrust::Signature),
            (&at, GOOD, b"{}", AT + 301, Distrust::OutsideWindow),
            (&at, GOOD, b"{}", AT - 301, Distrust::OutsideWindow),
            (&at, GOOD, b"{}", i64::MIN, Distrust::OutsideWindow),
        ] {
            assert_eq!(
                check(timestamp, signatures, body, now),
                Err(distrust),
                "{timestamp} {signatures}"
            );
        }
        let late = format!("v1=1,v1=2,v1=3,v1=4,{GOOD}");
        assert_eq!(check(&at, &late, b"{}", AT), Err(Distrust::Signature), "one too many");
    }
}
