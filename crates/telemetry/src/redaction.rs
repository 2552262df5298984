//! Which fields must not be seen, by their names.
//!
//! A name is hidden when one of its dotted parts contains a listed word: `http.request.header.authorization`,
//! `access_token`, `card-secret`. An idempotency key is no secret, so `key` alone is not a word of the list.

use std::collections::BTreeSet;

/// What stands in place of a hidden value.
pub(crate) const HIDDEN: &str = "***";

const WORDS: &[&str] = &[
    "password",
    "passwd",
    "authorization",
    "token",
    "secret",
    "cookie",
    "signature",
    "api_key",
    "apikey",
];

/// The list, with a service's own words.
#[derive(Debug, Clone, Default)]
pub(crate) struct Redaction {
    own: BTreeSet<String>,
}

impl Redaction {
    pub(crate) fn with(words: &[String]) -> Self {
        Self {
            own: words.iter().map(|word| normal(word)).filter(|word| !word.is_empty()).collect(),
        }
    }

    pub(crate) fn hides(&self, field: &str) -> bool {
        let field = normal(field);
        WORDS.iter().any(|word| field.contains(word))
            || self.own.iter().any(|word| field.contains(word.as_str()))
    }
}

fn normal(name: &str) -> String {
    name.to_ascii_lowercase().replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_hidden_by_name_and_idempotency_keys_are_not() {
        let redaction = Redaction::with(&["Card-Number".to_owned(), String::new()]);
        for hidden in [
            "password",
            "db.Password",
            "http.request.header.authorization",
            "access_token",
            "X-Signature",
            "set-cookie",
            "client_secret",
            "api-key",
            "card_number",
        ] {
            assert!(redaction.hides(hidden), "{hidden}");
        }
        for shown in ["idempotency_key", "order_id", "partition_key", "message", "http.route"] {
            assert!(!redaction.hides(shown), "{shown}");
        }
    }
}
