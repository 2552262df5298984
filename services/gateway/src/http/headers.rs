//! Which headers cross the gateway.
//!
//! Hop-by-hop headers (RFC 9110 section 7.6.1) end here in both directions, the ones that `Connection` names among
//! them. So does everything that services believe because only the gateway can have set it: a client that could
//! send those would forge them.

use std::collections::HashSet;

use actix_web::http::header::{self as actix, HeaderMap as ActixHeaders};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

use super::address::ClientAddress;

const HOP_BY_HOP: &[&str] = &[
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Set anew for the upstream, whatever the client sent: by the HTTP client (host, length), by the call (trace,
/// deadline), from the connection (forwarded). `expect` is answered by the server before the body is read.
const SET_ANEW: &[&str] = &[
    "host",
    "content-length",
    "expect",
    "traceparent",
    "tracestate",
    "baggage",
    "forwarded",
    "x-real-ip",
    "via",
];

/// What the services of an installation tell each other; among them the deadline, which the call sets.
const INTERNAL: &[&str] = &["x-millrace-", "x-forwarded-"];

/// The gateway's own to say, whatever the upstream says.
const ANSWERED_HERE: &[&str] = &["content-length", "server", "ratelimit", "ratelimit-policy"];

/// The client's headers as the upstream gets them.
pub(super) fn for_upstream(client: &ActixHeaders, address: &ClientAddress) -> HeaderMap {
    let named = named_by_connection(client.get_all("connection").map(|value| value.as_bytes()));
    let mut headers = HeaderMap::with_capacity(client.len() + 4);
    for (name, value) in client {
        let name = name.as_str();
        let ends_here = HOP_BY_HOP.contains(&name)
            || SET_ANEW.contains(&name)
            || INTERNAL.iter().any(|prefix| name.starts_with(prefix))
            || named.contains(name);
        if ends_here {
            continue;
        }
        if let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_bytes(value.as_bytes()))
        {
            headers.append(name, value);
        }
    }
    let host = client.get(actix::HOST).map(|value| value.as_bytes()).unwrap_or_default();
    for (name, value) in [
        ("x-forwarded-for", address.forwarded_for.as_bytes()),
        ("x-forwarded-proto", address.scheme.as_bytes()),
        ("x-forwarded-host", host),
    ] {
        if let Some(value) = HeaderValue::from_bytes(value).ok().filter(|value| !value.is_empty()) {
            headers.insert(name, value);
        }
    }
    headers
}

/// The upstream's headers as the client gets them.
pub(super) fn for_client(
    upstream: &HeaderMap,
) -> impl Iterator<Item = (actix::HeaderName, actix::HeaderValue)> + '_ {
    let named =
        named_by_connection(upstream.get_all("connection").iter().map(HeaderValue::as_bytes));
    upstream.iter().filter_map(move |(name, value)| {
        let name = name.as_str();
        let ends_here = HOP_BY_HOP.contains(&name)
            || ANSWERED_HERE.contains(&name)
            // Which pages may read an answer is decided at the edge alone.
            || name.starts_with("access-control-")
            || named.contains(name);
        if ends_here {
            return None;
        }
        let name = actix::HeaderName::from_bytes(name.as_bytes()).ok()?;
        Some((name, actix::HeaderValue::from_bytes(value.as_bytes()).ok()?))
    })
}

fn named_by_connection<'a>(values: impl Iterator<Item = &'a [u8]>) -> HashSet<String> {
    let texts = values.filter_map(|value| std::str::from_utf8(value).ok());
    texts.flat_map(|text| text.split(',')).map(|name| name.trim().to_ascii_lowercase()).collect()
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn passed(headers: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut client = ActixHeaders::new();
        for (name, value) in headers {
            client.append(
                actix::HeaderName::from_static(name),
                actix::HeaderValue::from_static(value),
            );
        }
        let address = ClientAddress {
            client: IpAddr::from([1, 2, 3, 4]),
            forwarded_for: "1.2.3.4".to_owned(),
            scheme: "https",
        };
        for_upstream(&client, &address)
    }

    #[test]
    fn hop_by_hop_and_forged_headers_end_at_the_gateway() {
        let headers = passed(&[
            ("host", "shop.example"),
            ("connection", "close, X-Secret"),
            ("x-secret", "1"),
            ("te", "trailers"),
            ("upgrade", "websocket"),
            ("x-forwarded-for", "6.6.6.6"),
            ("x-forwarded-user", "root"),
            ("forwarded", "for=6.6.6.6"),
            ("traceparent", "00-1-2-01"),
            ("x-millrace-deadline-ms", "9"),
            ("x-millrace-actor", "root"),
            ("authorization", "Bearer x"),
            ("accept", "a"),
            ("accept", "b"),
        ]);
        let mut left: Vec<String> = headers
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect();
        left.sort();
        assert_eq!(
            left,
            [
                "accept: a",
                "accept: b",
                "authorization: Bearer x",
                "x-forwarded-for: 1.2.3.4",
                "x-forwarded-host: shop.example",
                "x-forwarded-proto: https",
            ]
        );
    }

    #[test]
    fn an_upstreams_connection_and_cors_headers_are_not_passed_on() {
        let mut upstream = HeaderMap::new();
        for (name, value) in [
            ("connection", "x-hop"),
            ("x-hop", "1"),
            ("transfer-encoding", "chunked"),
            ("access-control-allow-origin", "*"),
            ("retry-after", "3"),
        ] {
            upstream.append(name, HeaderValue::from_static(value));
        }
        let names: Vec<String> = for_client(&upstream).map(|(name, _)| name.to_string()).collect();
        assert_eq!(names, ["retry-after"]);
    }
}
