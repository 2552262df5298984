//! The codes that any service may answer with; services add their own beside them.

use millrace_envelope::error_codes;

error_codes! {
    NOT_FOUND = "http.not_found", 404, "There is nothing at this path.", "Check the path.";
    METHOD_NOT_ALLOWED = "http.method_not_allowed", 405, "The path exists, but not for this method.", "Use a method that the reply's `allow` header or the API's description names.";
    MALFORMED_JSON = "http.malformed_json", 400, "The body is not JSON.", "Send well-formed JSON in UTF-8.";
    INVALID_REQUEST = "http.invalid_request", 400, "A part of the request has a wrong value; `data.fields` names each.", "Correct the fields named.";
    BODY_TOO_LARGE = "http.body_too_large", 413, "The body is larger than this service accepts.", "Send less.";
    HEADERS_TOO_LARGE = "http.headers_too_large", 431, "The headers are larger than this service accepts.", "Send fewer or shorter headers.";
    UNSUPPORTED_MEDIA_TYPE = "http.unsupported_media_type", 415, "The body has a form that this service doesn't read.", "Send `content-type: application/json`, not compressed.";
    TIMEOUT = "http.timeout", 504, "The deadline passed before there was an answer; `data.hop` names the service it passed in.", "Ask for the outcome, or repeat with the same idempotency key.";
    RATE_LIMITED = "http.rate_limited", 429, "The caller's quota is used up.", "Wait as long as `retry-after` says.";
    OVERLOADED = "http.overloaded", 503, "The service has more work than it can do.", "Wait as long as `retry-after` says.";
    UNAVAILABLE = "http.unavailable", 503, "Something that the service needs doesn't answer.", "Wait as long as `retry-after` says.";
    BAD_GATEWAY = "http.bad_gateway", 502, "The service behind this one gave no usable answer.", "Repeat with the same idempotency key.";
    INTERNAL = "http.internal", 500, "The service failed in a way that it doesn't know.", "Report the trace id in `data.trace_id`.";
    MISSING_TOKEN = "auth.missing_token", 401, "The request carries no bearer token.", "Send `authorization: Bearer <token>`.";
    INVALID_TOKEN = "auth.invalid_token", 401, "The token was not accepted: its form, signature, key, issuer, audience or start is wrong.", "Get a new token from the issuer.";
    EXPIRED_TOKEN = "auth.expired_token", 401, "The token has expired.", "Get a new token from the issuer.";
    FORBIDDEN = "auth.forbidden", 403, "The caller may not do this.", "Use an account that has the role.";
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::ALL;

    #[test]
    fn codes_are_unique_and_explained() {
        let codes: BTreeSet<&str> = ALL.iter().map(|code| code.code).collect();
        assert_eq!(codes.len(), ALL.len());
        for code in ALL {
            assert!((400..600).contains(&code.status), "{}", code.code);
            assert!(code.meaning.ends_with('.') && code.action.ends_with('.'), "{}", code.code);
        }
    }
}
