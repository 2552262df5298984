//! Who asks: bearer tokens, checked here and nowhere else.

mod authenticate;
mod caller;
mod keys;
mod verifier;

pub use authenticate::Authenticate;
pub use caller::{Admin, Caller, ROLE_ADMIN};
pub use verifier::{Verifier, VerifierError};

use jsonwebtoken::Algorithm;

/// The algorithm of a settings entry, if it is one that may be allowed. Symmetric ones may not.
pub(crate) fn algorithm(name: &str) -> Option<Algorithm> {
    match name {
        "RS256" => Some(Algorithm::RS256),
        "EdDSA" => Some(Algorithm::EdDSA),
        _ => None,
    }
}
