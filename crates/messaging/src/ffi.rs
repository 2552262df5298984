//! The one call into the C library that the Rust client doesn't offer.
//!
//! The admin client never serves its own event queue, so a token refresh asked for there is never answered and
//! OAUTHBEARER would wait forever. Here a token is handed to it directly.

use std::ffi::{CString, c_char};

use rdkafka::ClientContext;
use rdkafka::bindings::rd_kafka_oauthbearer_set_token;
use rdkafka::client::{Client, OAuthToken};
use rdkafka::error::IsError;

/// Room for the library's explanation of a refusal.
const REASON_BYTES_MAX: usize = 512;

/// Gives a client the token it shall authenticate with.
///
/// # Errors
/// What the library says against the token.
#[expect(unsafe_code, reason = "the Rust client has no safe form of this call")]
pub(crate) fn set_oauth_token<C: ClientContext>(
    client: &Client<C>,
    token: OAuthToken,
) -> Result<(), String> {
    let text = CString::new(token.token).map_err(|error| error.to_string())?;
    let principal = CString::new(token.principal_name).map_err(|error| error.to_string())?;
    let mut reason: [u8; REASON_BYTES_MAX] = [0; REASON_BYTES_MAX];
    // SAFETY: the client lives through the call; both texts end with NUL and are copied by the library; no
    // extensions are given (null with length 0); `reason` is writable for exactly the length that is passed.
    let code = unsafe {
        rd_kafka_oauthbearer_set_token(
            client.native_ptr(),
            text.as_ptr(),
            token.lifetime_ms,
            principal.as_ptr(),
            std::ptr::null_mut(),
            0,
            reason.as_mut_ptr().cast::<c_char>(),
            reason.len(),
        )
    };
    if !code.is_error() {
        return Ok(());
    }
    let end = reason.iter().position(|byte| *byte == 0).unwrap_or(reason.len());
    Err(String::from_utf8_lossy(&reason[..end]).into_owned())
}

#[cfg(test)]
mod tests {
    use millrace_runtime::Clock;
    use rdkafka::consumer::{BaseConsumer, Consumer as _};

    use super::*;

    #[expect(clippy::disallowed_methods, reason = "a client without a broker")]
    fn client() -> BaseConsumer {
        let mut config = rdkafka::ClientConfig::new();
        config.set("security.protocol", "SASL_SSL").set("sasl.mechanism", "OAUTHBEARER");
        config.create().expect("the client is built with OAUTHBEARER")
    }

    fn token(lifetime_ms: i64) -> OAuthToken {
        OAuthToken { token: "e30.e30.sig".into(), principal_name: "order".into(), lifetime_ms }
    }

    #[test]
    fn a_token_is_taken_and_an_expired_one_is_refused_with_a_reason() {
        let client = client();
        let now_ms = Clock::system().now_ms();
        assert_eq!(set_oauth_token(client.client(), token(now_ms + 60_000)), Ok(()));
        let refused = set_oauth_token(client.client(), token(now_ms - 60_000)).unwrap_err();
        assert!(refused.contains("expired") || refused.contains("supplied time"), "{refused}");
        let mut torn = token(now_ms + 60_000);
        torn.token = "a\0b".into();
        assert!(set_oauth_token(client.client(), torn).is_err());
    }
}
