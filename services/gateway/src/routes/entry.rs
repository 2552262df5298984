//! One entry of the route table, typed and checked.

use std::time::Duration;

use millrace_common::resilience::rate_limit::Quota;

use super::template::Template;

/// One path with some of its methods, and how requests to it are treated.
#[derive(Debug, Clone)]
pub(crate) struct Route {
    pub(crate) path: Template,
    pub(crate) methods: Vec<Method>,
    pub(crate) auth: Auth,
    pub(crate) role: Option<String>,
    pub(crate) upstream: UpstreamName,
    pub(crate) quota: Quota,
    pub(crate) quota_by: QuotaBy,
    pub(crate) deadline: Duration,
    pub(crate) body_bytes_max: usize,
}

/// Declares a closed set of words of the table: the enum, its parser and its spelling.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub(crate) enum $name { $($(#[$variant_doc])* $variant,)+ }

        impl $name {
            pub(crate) const ALL: &'static [Self] = &[$(Self::$variant),+];

            pub(crate) const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }

            pub(crate) fn parse(word: &str) -> Result<Self, String> {
                Self::ALL.iter().copied().find(|known| known.as_str() == word).ok_or_else(|| {
                    let known: Vec<&str> = Self::ALL.iter().map(|known| known.as_str()).collect();
                    format!("`{word}` is none of {}", known.join(", "))
                })
            }
        }
    };
}

words! {
    /// The methods a route may have. HEAD and OPTIONS are no choice: nothing of ours needs the former, and the
    /// latter belongs to CORS.
    Method { Get = "GET", Post = "POST", Put = "PUT", Patch = "PATCH", Delete = "DELETE", }
}

words! {
    /// Who checks that the caller may.
    Auth {
        /// The gateway verifies the bearer token, and the upstream does again.
        Jwt = "jwt",
        /// The upstream verifies a signature over the body.
        Hmac = "hmac",
    }
}

words! {
    /// What a quota is counted by.
    QuotaBy { Caller = "caller", Ip = "ip", }
}

words! {
    /// The services behind the gateway.
    UpstreamName { Order = "order", Inventory = "inventory", Audit = "audit", LogIngest = "log-ingest", }
}

impl Method {
    /// Repeating it changes nothing and it has no body, so a request that never left may be sent again.
    pub(crate) const fn repeatable(self) -> bool {
        matches!(self, Self::Get)
    }
}
