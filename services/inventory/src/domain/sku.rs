//! The name of a product.

use std::fmt;

use super::BadValue;

const LENGTH_MAX: usize = 64;

/// A stock keeping unit: 1 to 64 of letters, digits, dot, underscore and hyphen.
///
/// Ordered by bytes, as the database orders it (`collate "C"`): rows are locked in this order.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Sku(String);

impl Sku {
    pub(crate) fn parse(text: &str) -> Result<Self, BadValue> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if (1..=LENGTH_MAX).contains(&text.len()) && text.bytes().all(allowed) {
            Ok(Self(text.to_owned()))
        } else {
            Err(BadValue("must be 1 to 64 of letters, digits, `.`, `_` and `-`"))
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Sku {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_documented_characters_and_lengths_make_a_sku() {
        let longest = "x".repeat(64);
        for good in ["a", "TEA-1", "a.b_c-9", longest.as_str()] {
            assert_eq!(Sku::parse(good).map(|sku| sku.to_string()).as_deref(), Ok(good));
        }
        let too_long = "x".repeat(65);
        for bad in ["", " ", "a b", "a,b", "ä", "a/b", "a\n", "a\0", too_long.as_str()] {
            assert!(Sku::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn skus_are_ordered_by_bytes() {
        let mut skus: Vec<Sku> =
            ["b", "a", "B", "_", "1"].iter().map(|text| Sku::parse(text).unwrap()).collect();
        skus.sort();
        let texts: Vec<&str> = skus.iter().map(Sku::as_str).collect();
        assert_eq!(texts, ["1", "B", "_", "a", "b"]);
    }
}
