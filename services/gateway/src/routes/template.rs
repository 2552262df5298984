//! A path template: literal segments and `{parameters}` that stand for one segment each.

use std::fmt;

/// Only paths below this are routed; beside it stand the gateway's own pages and probes.
pub(crate) const PREFIX: &str = "/api/";

/// A well-formed template such as `/api/v1/orders/{id}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Template(String);

impl Template {
    /// Reads a template.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let Some(rest) = text.strip_prefix(PREFIX) else {
            return Err(format!("`{text}` does not begin with {PREFIX}"));
        };
        for segment in rest.split('/') {
            let name = segment.strip_prefix('{').and_then(|inner| inner.strip_suffix('}'));
            let well_formed = match name {
                Some(name) => !name.is_empty() && name.bytes().all(is_name),
                None => !segment.is_empty() && segment.bytes().all(is_literal),
            };
            if !well_formed {
                return Err(format!(
                    "`{segment}` in `{text}` is neither a plain segment nor a {{parameter}}"
                ));
            }
        }
        Ok(Self(text.to_owned()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Its form without the parameters' names: two templates of one form match the same paths.
    pub(crate) fn form(&self) -> String {
        let segments =
            self.0.split('/').map(|part| if part.starts_with('{') { "{}" } else { part });
        segments.collect::<Vec<_>>().join("/")
    }

    /// Sorts literal segments before parameters, so that `/orders/summary` is tried before `/orders/{id}`.
    pub(crate) fn precedence(&self) -> Vec<(bool, &str)> {
        self.0.split('/').map(|part| (part.starts_with('{'), part)).collect()
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_name(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte == b'_'
}

/// Letters that need no percent-encoding, so that the text here is the text in a request line.
fn is_literal(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'~')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_segments_and_whole_segment_parameters_are_taken() {
        assert!(Template::parse("/api/v1/orders/{id}/cancel").is_ok());
        for wrong in [
            "/v1/orders",
            "/api/",
            "/api/v1//x",
            "/api/v1/{id",
            "/api/v1/a{id}",
            "/api/v1/{}",
            "/api/../x",
        ] {
            assert!(Template::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn literal_segments_come_before_parameters() {
        let (id, summary) = (
            Template::parse("/api/orders/{id}").unwrap(),
            Template::parse("/api/orders/summary").unwrap(),
        );
        assert!(summary.precedence() < id.precedence());
        assert_eq!(id.form(), Template::parse("/api/orders/{other}").unwrap().form());
    }
}
