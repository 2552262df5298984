//! Stable codes for what went wrong, listed in docs/errors.md.

/// One stable code: what a caller matches on, what a dead letter is routed by.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct ErrorCode {
    /// `area.reason`; never changes once released.
    pub code: &'static str,
    /// The HTTP status it travels with.
    pub status: u16,
    /// What it means, one sentence.
    pub meaning: &'static str,
    /// What the caller does about it, one sentence.
    pub action: &'static str,
}

/// Declares error codes and the table of all of them.
///
/// Each line is `NAME = "area.reason", status, "meaning", "what to do";`. The table is `ALL`.
#[macro_export]
macro_rules! error_codes {
    ($($name:ident = $code:literal, $status:literal, $meaning:literal, $action:literal;)+) => {
        $(
            #[doc = concat!("`", $code, "`: ", $meaning)]
            pub static $name: $crate::ErrorCode = $crate::ErrorCode {
                code: $code, status: $status, meaning: $meaning, action: $action,
            };
        )+
        /// Every code declared here.
        pub static ALL: &[&$crate::ErrorCode] = &[$(&$name),+];
    };
}
