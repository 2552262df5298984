//! The header's grammar: <https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/>.
//!
//! The draft asks for a structured-field string, `"8e03978e-40d5-43dd-bc93-6894a57f9324"` with its quotes. Most
//! clients in the field leave the quotes out, so a bare text is taken as the same key. A key is 1 to 128
//! visible ASCII characters; blanks, parameters after the string and several values are refused.

/// Most characters of a key.
pub const KEY_LENGTH_MAX: usize = 128;

/// A client's key, without quotes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct IdempotencyKey(String);

/// Why a header's value is no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Nothing in it.
    #[error("must not be empty")]
    Empty,
    /// More than [`KEY_LENGTH_MAX`] characters.
    #[error("must have at most {KEY_LENGTH_MAX} characters")]
    TooLong,
    /// Something that is not visible ASCII.
    #[error("must consist of visible ASCII characters")]
    Character,
    /// A quote that isn't closed, a stray quote or backslash, or something after the closing quote.
    #[error("must be one quoted string, or one text without quotes")]
    Quotes,
}

impl IdempotencyKey {
    /// Reads the header's value.
    ///
    /// # Errors
    /// See [`KeyError`].
    pub fn parse(header: &str) -> Result<Self, KeyError> {
        let header = header.trim_matches([' ', '\t']);
        let key = match header.strip_prefix('"') {
            Some(rest) => unquote(rest)?,
            None if header.contains(['"', '\\', ',', ';']) => return Err(KeyError::Quotes),
            None => header.to_owned(),
        };
        if key.is_empty() {
            return Err(KeyError::Empty);
        }
        if !key.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(KeyError::Character);
        }
        if key.len() > KEY_LENGTH_MAX {
            return Err(KeyError::TooLong);
        }
        Ok(Self(key))
    }

    /// The key as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The inside of a structured-field string (RFC 9651, 3.3.3) whose opening quote is gone.
fn unquote(text: &str) -> Result<String, KeyError> {
    let mut key = String::with_capacity(text.len());
    let mut characters = text.chars();
    loop {
        match characters.next() {
            None => return Err(KeyError::Quotes),
            Some('"') => break,
            Some('\\') => match characters.next() {
                Some(escaped @ ('"' | '\\')) => key.push(escaped),
                _ => return Err(KeyError::Quotes),
            },
            Some(plain) => key.push(plain),
        }
    }
    if characters.next().is_some() { Err(KeyError::Quotes) } else { Ok(key) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quoted_key_and_a_bare_one_are_the_same() {
        let quoted = IdempotencyKey::parse(r#" "8e03978e-40d5" "#).unwrap();
        assert_eq!(quoted, IdempotencyKey::parse("8e03978e-40d5").unwrap());
        assert_eq!(IdempotencyKey::parse(r#""a\"b\\c""#).unwrap().as_str(), r#"a"b\c"#);
        assert!(IdempotencyKey::parse(&"k".repeat(KEY_LENGTH_MAX)).is_ok());
    }

    #[test]
    fn what_is_no_key_is_refused_with_its_reason() {
        for (header, reason) in [
            ("", KeyError::Empty),
            ("  ", KeyError::Empty),
            (r#""""#, KeyError::Empty),
            ("a b", KeyError::Character),
            (r#""a b""#, KeyError::Character),
            ("schlüssel", KeyError::Character),
            ("a\u{7f}", KeyError::Character),
            (r#""open"#, KeyError::Quotes),
            (r#""a"b"#, KeyError::Quotes),
            (r#""a";p=1"#, KeyError::Quotes),
            (r#""a\n""#, KeyError::Quotes),
            (r#"a"b"#, KeyError::Quotes),
            ("a, b", KeyError::Quotes),
        ] {
            assert_eq!(IdempotencyKey::parse(header), Err(reason), "{header}");
        }
        let long = "k".repeat(KEY_LENGTH_MAX + 1);
        assert_eq!(IdempotencyKey::parse(&long), Err(KeyError::TooLong));
    }
}
