//! Who the client is on the network.
//!
//! With no trusted proxy the peer is the client, and what it claims in `X-Forwarded-*` is worth nothing. With N of
//! them each has added the address that it was called from, so the Nth entry from the right was written by the
//! outermost trusted one; what stands left of it came from the client and is thrown away.

use std::net::{IpAddr, Ipv4Addr};

use actix_web::HttpRequest;

/// The client and the way its request took.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ClientAddress {
    pub(super) client: IpAddr,
    /// The value of `X-Forwarded-For` for the next hop.
    pub(super) forwarded_for: String,
    /// The value of `X-Forwarded-Proto` for the next hop.
    pub(super) scheme: &'static str,
}

impl ClientAddress {
    pub(super) fn of(request: &HttpRequest, proxies_trusted: usize) -> Self {
        let peer = request.peer_addr().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.ip());
        let texts = |name: &str| -> Vec<String> {
            let values = request.headers().get_all(name).filter_map(|value| value.to_str().ok());
            values.flat_map(|value| value.split(',')).map(|entry| entry.trim().to_owned()).collect()
        };
        let told_https = texts("x-forwarded-proto").last().is_some_and(|scheme| scheme == "https");
        let scheme = if proxies_trusted > 0 && told_https { "https" } else { "http" };
        let (client, forwarded_for) = resolve(peer, &texts("x-forwarded-for"), proxies_trusted);
        Self { client, forwarded_for, scheme }
    }
}

fn resolve(peer: IpAddr, told: &[String], proxies_trusted: usize) -> (IpAddr, String) {
    let trusted = &told[told.len().saturating_sub(proxies_trusted)..];
    // An entry that is no address was not written by a proxy of ours.
    let way: Option<Vec<IpAddr>> = trusted.iter().map(|entry| entry.parse().ok()).collect();
    let way = way.unwrap_or_default();
    let client = way.first().copied().unwrap_or(peer);
    let whole: Vec<String> = way.iter().chain([&peer]).map(IpAddr::to_string).collect();
    (client, whole.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(told: &str, proxies_trusted: usize) -> (String, String) {
        let told: Vec<String> = told.split(',').map(|entry| entry.trim().to_owned()).collect();
        let (client, way) = resolve(IpAddr::from([10, 0, 0, 1]), &told, proxies_trusted);
        (client.to_string(), way)
    }

    #[test]
    fn what_a_client_says_about_itself_is_believed_only_from_trusted_proxies() {
        assert_eq!(resolved("6.6.6.6", 0), ("10.0.0.1".into(), "10.0.0.1".into()));
        assert_eq!(resolved("6.6.6.6, 1.2.3.4", 1), ("1.2.3.4".into(), "1.2.3.4, 10.0.0.1".into()));
        assert_eq!(
            resolved("6.6.6.6, 1.2.3.4, 5.5.5.5", 2),
            ("1.2.3.4".into(), "1.2.3.4, 5.5.5.5, 10.0.0.1".into())
        );
        assert_eq!(resolved("not an address", 1), ("10.0.0.1".into(), "10.0.0.1".into()));
    }
}
