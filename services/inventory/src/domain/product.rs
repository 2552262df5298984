//! What is sold and for how much.

use super::{BadValue, PutProductRefusal, Sku};

const NAME_CHARS_MAX: usize = 200;

/// A product's name for people: 1 to 200 characters, none of them a control character.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ProductName(String);

impl ProductName {
    pub(crate) fn parse(text: &str) -> Result<Self, BadValue> {
        let name = text.trim();
        let length = name.chars().count();
        if (1..=NAME_CHARS_MAX).contains(&length) && !name.chars().any(char::is_control) {
            Ok(Self(name.to_owned()))
        } else {
            Err(BadValue("must be 1 to 200 characters without control characters"))
        }
    }

    pub(crate) fn from_stored(name: String) -> Self {
        Self(name)
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// The price of one piece in minor units. 50 lines of a million pieces at the highest price still fit into an i64.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Price(i64);

impl Price {
    pub(crate) const MAX: i64 = 100_000_000_000;

    pub(crate) fn try_new(minor: i64) -> Result<Self, BadValue> {
        if (0..=Self::MAX).contains(&minor) {
            Ok(Self(minor))
        } else {
            Err(BadValue("must be 0 to 100000000000"))
        }
    }

    pub(crate) fn from_stored(minor: i64) -> Self {
        Self(minor)
    }

    pub(crate) fn minor(self) -> i64 {
        self.0
    }
}

/// An ISO 4217 code by its form: three capital letters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Currency(String);

impl Currency {
    pub(crate) fn parse(text: &str) -> Result<Self, BadValue> {
        if text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_uppercase()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(BadValue("must be three capital letters, as ISO 4217 has them"))
        }
    }

    pub(crate) fn from_stored(code: String) -> Self {
        Self(code)
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// What an administrator sets of a product.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ProductTerms {
    pub(crate) name: ProductName,
    pub(crate) price: Price,
    pub(crate) currency: Currency,
    pub(crate) sellable: bool,
}

/// A product as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Product {
    pub(crate) sku: Sku,
    pub(crate) terms: ProductTerms,
    /// Grows by one with each change, from 1.
    pub(crate) row_version: i64,
}

/// What a request does to a product.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ProductChange {
    Created(Product),
    Changed(Product),
    /// It already is as asked; no new version, no event.
    Unchanged(Product),
}

impl Product {
    /// Decides what putting `terms` on `sku` means. `expected` is the version that the caller saw, 0 for «none yet»;
    /// without one the last writer wins.
    pub(crate) fn put(
        current: Option<Self>,
        sku: Sku,
        terms: ProductTerms,
        expected: Option<i64>,
    ) -> Result<ProductChange, PutProductRefusal> {
        let actual = current.as_ref().map_or(0, |product| product.row_version);
        if let Some(expected) = expected
            && expected != actual
        {
            return Err(PutProductRefusal::VersionConflict { sku, expected, actual });
        }
        let put = Self { sku, terms, row_version: actual + 1 };
        Ok(match current {
            None => ProductChange::Created(put),
            Some(current) if current.terms == put.terms => ProductChange::Unchanged(current),
            Some(_) => ProductChange::Changed(put),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms(minor: i64) -> ProductTerms {
        ProductTerms {
            name: ProductName::parse("Green tea").unwrap(),
            price: Price::try_new(minor).unwrap(),
            currency: Currency::parse("EUR").unwrap(),
            sellable: true,
        }
    }

    fn product(minor: i64, row_version: i64) -> Product {
        Product { sku: Sku::parse("TEA-1").unwrap(), terms: terms(minor), row_version }
    }

    #[test]
    fn a_put_creates_changes_or_leaves_and_respects_the_expected_version() {
        let put = |current: Option<Product>, expected| {
            Product::put(current, Sku::parse("TEA-1").unwrap(), terms(5), expected)
        };
        let conflict = |expected, actual| {
            let sku = Sku::parse("TEA-1").unwrap();
            Err(PutProductRefusal::VersionConflict { sku, expected, actual })
        };
        assert_eq!(put(None, None), Ok(ProductChange::Created(product(5, 1))));
        assert_eq!(put(None, Some(0)), Ok(ProductChange::Created(product(5, 1))));
        assert_eq!(put(None, Some(1)), conflict(1, 0));
        assert_eq!(put(Some(product(4, 3)), None), Ok(ProductChange::Changed(product(5, 4))));
        assert_eq!(put(Some(product(4, 3)), Some(3)), Ok(ProductChange::Changed(product(5, 4))));
        assert_eq!(put(Some(product(4, 3)), Some(2)), conflict(2, 3));
        assert_eq!(put(Some(product(4, 3)), Some(0)), conflict(0, 3));
        assert_eq!(put(Some(product(5, 3)), None), Ok(ProductChange::Unchanged(product(5, 3))));
        assert_eq!(put(Some(product(5, 3)), Some(2)), conflict(2, 3));
    }

    #[test]
    fn names_prices_and_currencies_have_bounds() {
        assert_eq!(
            ProductName::parse("  tea ").map(|name| name.as_str().to_owned()).as_deref(),
            Ok("tea")
        );
        for bad in ["", "   ", "a\u{7}b", "x".repeat(201).as_str()] {
            assert!(ProductName::parse(bad).is_err(), "{bad:?}");
        }
        for (minor, good) in [(-1, false), (0, true), (Price::MAX, true), (Price::MAX + 1, false)] {
            assert_eq!(Price::try_new(minor).is_ok(), good, "{minor}");
        }
        for (code, good) in
            [("EUR", true), ("eur", false), ("EURO", false), ("", false), ("ÄB", false)]
        {
            assert_eq!(Currency::parse(code).is_ok(), good, "{code}");
        }
    }
}
