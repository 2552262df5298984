//! Whether trying again can help.

/// The answer that retry, breaker and dead letter all read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// The world may be better in a moment: try again.
    Transient,
    /// The same input will fail again: give up and keep the evidence.
    Permanent,
}

impl Class {
    /// `transient` or `permanent`, as it stands in headers, metrics and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Transient => "transient",
            Self::Permanent => "permanent",
        }
    }
}

/// An error that knows its class. Nobody reads messages to find out.
pub trait Classify {
    /// Whether trying again can help.
    fn class(&self) -> Class;
}
