//! What is ordered: SKUs, quantities, and the rules for a whole basket.

use std::collections::HashSet;
use std::fmt;

/// Most lines that one order has.
pub(crate) const LINES_MAX: usize = 50;
/// Most pieces that one line asks for.
pub(crate) const QUANTITY_MAX: u32 = 10_000;
/// A SKU is never longer.
pub(crate) const SKU_BYTES_MAX: usize = 64;

/// The id of a product: 1 to 64 letters, digits, `-`, `_` or `.`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Sku(String);

impl Sku {
    /// `None` when the text is no SKU.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let valid = (1..=SKU_BYTES_MAX).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        valid.then(|| Self(text.to_owned()))
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

/// How many pieces: 1 to 10,000.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Quantity(u32);

impl Quantity {
    /// `None` when out of range.
    pub(crate) fn try_new(pieces: i64) -> Option<Self> {
        let pieces = u32::try_from(pieces).ok()?;
        (1..=QUANTITY_MAX).contains(&pieces).then_some(Self(pieces))
    }

    pub(crate) fn pieces(self) -> u32 {
        self.0
    }
}

/// One line as the customer asks for it: no price, because a client never sends one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) sku: Sku,
    pub(crate) quantity: Quantity,
}

/// One line with the price of the moment it was placed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) sku: Sku,
    pub(crate) quantity: Quantity,
    pub(crate) unit_price_minor: i64,
}

/// What one order asks for: 1 to 50 lines, each SKU once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Basket(Vec<Wanted>);

/// Why lines are no basket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum BasketError {
    Empty,
    TooManyLines {
        count: usize,
    },
    /// The line at `index` names a SKU that an earlier one named.
    RepeatedSku {
        index: usize,
    },
}

impl Basket {
    pub(crate) fn try_new(lines: Vec<Wanted>) -> Result<Self, BasketError> {
        if lines.is_empty() {
            return Err(BasketError::Empty);
        }
        if lines.len() > LINES_MAX {
            return Err(BasketError::TooManyLines { count: lines.len() });
        }
        let mut seen = HashSet::new();
        match lines.iter().position(|line| !seen.insert(&line.sku)) {
            Some(index) => Err(BasketError::RepeatedSku { index }),
            None => Ok(Self(lines)),
        }
    }

    pub(crate) fn lines(&self) -> &[Wanted] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(sku: &str) -> Wanted {
        Wanted { sku: Sku::parse(sku).unwrap(), quantity: Quantity::try_new(1).unwrap() }
    }

    #[test]
    fn a_sku_is_short_and_plain() {
        let long = "A".repeat(65);
        for (text, valid) in [
            ("TEA-1", true),
            ("a_b.c", true),
            ("", false),
            ("a b", false),
            ("ä", false),
            ("a/b", false),
            (&long, false),
            (&long[1..], true),
        ] {
            assert_eq!(Sku::parse(text).is_some(), valid, "{text}");
        }
    }

    #[test]
    fn a_quantity_is_one_to_ten_thousand() {
        for (pieces, valid) in [
            (1, true),
            (10_000, true),
            (0, false),
            (-1, false),
            (10_001, false),
            (i64::MAX, false),
            (i64::MIN, false),
        ] {
            assert_eq!(Quantity::try_new(pieces).is_some(), valid, "{pieces}");
        }
    }

    #[test]
    fn a_basket_has_one_to_fifty_lines_and_each_sku_once() {
        assert_eq!(Basket::try_new(vec![]), Err(BasketError::Empty));
        let many = |count: usize| (0..count).map(|n| wanted(&format!("S{n}"))).collect::<Vec<_>>();
        assert!(Basket::try_new(many(50)).is_ok());
        assert_eq!(Basket::try_new(many(51)), Err(BasketError::TooManyLines { count: 51 }));
        let repeated = vec![wanted("A"), wanted("B"), wanted("A")];
        assert_eq!(Basket::try_new(repeated), Err(BasketError::RepeatedSku { index: 2 }));
    }
}
