//! The payment provider's side of the callback: it signs `timestamp.body` with the shared secret.

use hmac::{Hmac, KeyInit as _, Mac as _};
use millrace_runtime::Clock;
use sha2::Sha256;

/// Unix seconds at which the provider signed.
pub const TIMESTAMP_HEADER: &str = "X-Payment-Timestamp";
/// `v1=` and the hexadecimal HMAC-SHA256.
pub const SIGNATURE_HEADER: &str = "X-Payment-Signature";

/// The two headers of a callback signed now.
#[must_use]
pub fn sign(secret: &str, body: &[u8]) -> [(&'static str, String); 2] {
    sign_at(secret, body, Clock::system().now_ms() / 1000)
}

/// The two headers of a callback signed at `timestamp`, for replays and clocks that are off.
#[must_use]
pub fn sign_at(secret: &str, body: &[u8], timestamp: i64) -> [(&'static str, String); 2] {
    let mut mac =
        Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes a key of any length");
    mac.update(timestamp.to_string().as_bytes());
    mac.update(b".");
    mac.update(body);
    let digest = mac.finalize().into_bytes();
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    [(TIMESTAMP_HEADER, timestamp.to_string()), (SIGNATURE_HEADER, format!("v1={hex}"))]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_the_one_that_openssl_computes() {
        // printf '1700000000.{}' | openssl dgst -sha256 -hmac secret
        let [(_, timestamp), (_, signature)] = sign_at("secret", b"{}", 1_700_000_000);
        assert_eq!(timestamp, "1700000000");
        assert_eq!(
            signature,
            "v1=b8569b78799ff9e3cbff0fc2d63a33a2b57f3282abd07c37ae5e8e7d79a5f163"
        );
    }
}
