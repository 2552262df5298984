//! Money: whole minor units of a currency. No fractions, no conversion.

use std::fmt;

/// The largest amount that every JSON reader reads exactly (2^53 - 1).
pub(crate) const AMOUNT_MINOR_MAX: i64 = (1 << 53) - 1;

/// An ISO 4217 code, by form: three capital letters.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Currency(String);

impl Currency {
    /// `None` unless the text is three capital letters.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let valid = text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_uppercase());
        valid.then(|| Self(text.to_owned()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An amount in minor units.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Money {
    pub(crate) minor: i64,
    pub(crate) currency: Currency,
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.minor, self.currency)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_currency_is_three_capital_letters() {
        for (text, valid) in [
            ("EUR", true),
            ("eur", false),
            ("EU", false),
            ("EURO", false),
            ("E1R", false),
            ("É", false),
        ] {
            assert_eq!(Currency::parse(text).is_some(), valid, "{text}");
        }
    }
}
