//! Checks a token: its key and algorithm, its signature, and what it claims.

use std::sync::Arc;

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{DecodingKey, Validation, decode, decode_header};
use millrace_runtime::Clock;
use millrace_runtime::settings::Secret;
use serde::Deserialize;

use super::caller::challenged;
use super::keys::KeyFile;
use super::{Caller, algorithm};
use crate::codes;
use crate::error::ApiError;
use crate::settings::AuthSettings;

/// Longer than any honest token; what is longer is not even decoded.
const TOKEN_BYTES_MAX: usize = 8192;
/// A subject becomes a database key and a message header.
const SUBJECT_BYTES_MAX: usize = 256;

/// Why no verifier could be made.
#[derive(Debug, thiserror::Error)]
#[error("token keys of `{path}` were not loaded")]
pub struct VerifierError {
    path: String,
    #[source]
    cause: super::keys::KeyFileError,
}

/// Checks tokens of one issuer for one audience. Cloning shares the keys.
#[derive(Clone)]
pub struct Verifier(Arc<Inner>);

struct Inner {
    keys: KeyFile,
    validation: Validation,
    clock: Clock,
}

#[derive(Deserialize)]
struct Claims {
    sub: String,
    #[serde(default)]
    roles: Vec<String>,
    tenant: Option<String>,
}

impl Verifier {
    /// Reads the key file and keeps an eye on it.
    ///
    /// # Errors
    /// When the file can't be read or has no usable key.
    pub fn from_settings(settings: &AuthSettings) -> Result<Self, VerifierError> {
        let clock = Clock::system();
        let allowed = settings.algorithms.iter().filter_map(|name| algorithm(name)).collect();
        let keys = KeyFile::open(
            settings.jwks_file.clone(),
            allowed,
            settings.reload_interval,
            clock.monotonic(),
        )
        .map_err(|cause| VerifierError { path: settings.jwks_file.display().to_string(), cause })?;
        // The algorithm is set from the key for each token.
        let mut validation = Validation::default();
        validation.set_issuer(&[&settings.issuer]);
        validation.set_audience(&[&settings.audience]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        validation.validate_nbf = true;
        validation.leeway = settings.leeway.as_secs();
        Ok(Self(Arc::new(Inner { keys, validation, clock })))
    }

    /// The caller that a token speaks for.
    ///
    /// # Errors
    /// `auth.expired_token`, or `auth.invalid_token` for everything else: a forger learns nothing from the
    /// difference, the log does.
    pub fn verify(&self, token: &str) -> Result<Caller, ApiError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(invalid("token is too long"));
        }
        let header = decode_header(token).map_err(invalid)?;
        let kid = header.kid.as_deref().ok_or_else(|| invalid("token names no key"))?;
        let key = self
            .0
            .keys
            .key(kid, self.0.clock.monotonic())
            .ok_or_else(|| invalid("token names a key that the issuer doesn't publish"))?;
        if header.alg != key.algorithm {
            return Err(invalid("token's algorithm is not its key's"));
        }
        let mut validation = self.0.validation.clone();
        validation.algorithms = vec![key.algorithm];
        let claims = self.claims(token, &key.decoding, &validation)?;
        if !is_subject(&claims.sub) || claims.tenant.as_deref().is_some_and(|it| !is_subject(it)) {
            return Err(invalid("token's subject or tenant is empty, too long or not plain text"));
        }
        Ok(Caller {
            subject: claims.sub,
            roles: claims.roles,
            tenant: claims.tenant,
            token: Secret::new(token),
        })
    }

    fn claims(
        &self,
        token: &str,
        key: &DecodingKey,
        validation: &Validation,
    ) -> Result<Claims, ApiError> {
        match decode::<Claims>(token, key, validation) {
            Ok(token) => Ok(token.claims),
            Err(cause) if matches!(cause.kind(), ErrorKind::ExpiredSignature) => Err(challenged(
                ApiError::new(&codes::EXPIRED_TOKEN, "the token has expired"),
                "invalid_token",
            )),
            Err(cause) => Err(invalid(cause)),
        }
    }
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Verifier").finish_non_exhaustive()
    }
}

fn invalid(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> ApiError {
    let error =
        ApiError::new(&codes::INVALID_TOKEN, "the token was not accepted").with_source(cause);
    challenged(error, "invalid_token")
}
/// It becomes a database key and a message header, where control characters (NUL above all) are trouble.
fn is_subject(text: &str) -> bool {
    (1..=SUBJECT_BYTES_MAX).contains(&text.len()) && !text.chars().any(char::is_control)
}
