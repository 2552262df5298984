//! The calls into the C library that the Rust client doesn't offer.
//!
//! The admin client never serves its own event queue, so a token refresh asked for there is never answered and
//! OAUTHBEARER would wait forever. Here a token is handed to it directly. And a consumer's own identity in its group
//! is hidden in a value that can only be passed on, while whoever passes it on must know whether it is one.

use std::ffi::{CStr, CString, c_char};

use millrace_envelope::TopicName;
use rdkafka::ClientContext;
use rdkafka::bindings::{
    rd_kafka_consumer_group_metadata, rd_kafka_consumer_group_metadata_destroy,
    rd_kafka_consumer_group_metadata_generation_id, rd_kafka_consumer_group_metadata_member_id,
    rd_kafka_header_cnt, rd_kafka_header_get_all, rd_kafka_headers_t, rd_kafka_message_headers,
    rd_kafka_oauthbearer_set_token,
};
use rdkafka::client::{Client, OAuthToken};
use rdkafka::error::IsError;
use rdkafka::message::{BorrowedMessage, Message as _};

use crate::message::{RawRecord, RawRecordBuilder};

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

/// The generation that a consumer is in and its member id there; `None` for clients that are no consumers. A member that
/// was thrown out has the generation -1, or an empty id, or both.
#[expect(unsafe_code, reason = "the Rust client hides both inside its group metadata")]
pub(crate) fn member<C: ClientContext>(client: &Client<C>) -> Option<(i32, String)> {
    // SAFETY: the client lives through the call, which is allowed on clients of every kind.
    let metadata = unsafe { rd_kafka_consumer_group_metadata(client.native_ptr()) };
    if metadata.is_null() {
        return None;
    }
    // SAFETY: the metadata is not null and ours until it is destroyed, which happens once and last; the member id is
    // looked at only if there is one, ends with NUL, and is copied before its owner goes.
    unsafe {
        let generation = rd_kafka_consumer_group_metadata_generation_id(metadata);
        let text = rd_kafka_consumer_group_metadata_member_id(metadata);
        let member_id = match text.is_null() {
            true => String::new(),
            false => CStr::from_ptr(text).to_string_lossy().into_owned(),
        };
        rd_kafka_consumer_group_metadata_destroy(metadata);
        Some((generation, member_id))
    }
}

/// Ends a producer as a fatal error of its own would, for tests: nothing that a broker does to it is as certain.
#[cfg(test)]
#[expect(unsafe_code, reason = "the Rust client has no safe form of this call")]
pub(crate) fn end_fatally<C: ClientContext>(client: &Client<C>) {
    use rdkafka::bindings::{rd_kafka_resp_err_t, rd_kafka_test_fatal_error};

    let code = rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER;
    // SAFETY: the client lives through the call; the text ends with NUL and is copied by the library.
    let told =
        unsafe { rd_kafka_test_fatal_error(client.native_ptr(), code, c"on purpose".as_ptr()) };
    assert!(!told.is_error(), "it had ended before");
}

/// Copies a message out of the client's memory.
///
/// The Rust client reads the name of a header as UTF-8 and panics when it isn't, which any producer can bring about.
/// Here names are read as bytes.
#[expect(
    unsafe_code,
    reason = "the Rust client has no form of reading headers that takes any bytes"
)]
pub(crate) fn record(message: &BorrowedMessage<'_>, topic: TopicName) -> RawRecord {
    let (partition, offset) = (message.partition(), message.offset());
    let mut record = RawRecordBuilder::new(topic, partition, offset, message.timestamp());
    let mut headers = std::ptr::null_mut();
    // SAFETY: the message lives through the call, and the library writes the pointer only when it reports success. The
    // headers belong to the message and are read below, while it is borrowed.
    let error = unsafe { rd_kafka_message_headers(message.ptr(), &raw mut headers) };
    let parts = if error.is_error() { Vec::new() } else { header_parts(headers) };
    let header_bytes: usize =
        parts.iter().map(|(name, value)| name.len() + value.map_or(0, <[u8]>::len)).sum();
    record.reserve(message.key_len() + message.payload_len() + header_bytes, parts.len());
    record.key(message.key());
    record.payload(message.payload());
    for (name, value) in parts {
        record.header(name, value);
    }
    record.build()
}

/// The headers as they lie in the message's memory; the caller keeps the message while it looks at them.
#[expect(unsafe_code, reason = "as its only caller says")]
fn header_parts<'a>(headers: *mut rd_kafka_headers_t) -> Vec<(&'a [u8], Option<&'a [u8]>)> {
    // SAFETY: `headers` came from a live message.
    let count = unsafe { rd_kafka_header_cnt(headers) };
    let mut parts = Vec::with_capacity(count);
    for index in 0..count {
        let (mut name, mut value, mut size) = (std::ptr::null(), std::ptr::null(), 0);
        // SAFETY: the index is below the count, so all three are written: a name that ends with NUL, and a value of
        // `size` bytes or null.
        unsafe {
            rd_kafka_header_get_all(headers, index, &raw mut name, &raw mut value, &raw mut size);
            let value =
                (!value.is_null()).then(|| std::slice::from_raw_parts(value.cast::<u8>(), size));
            parts.push((CStr::from_ptr(name).to_bytes(), value));
        }
    }
    parts
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
