//! An identity provider for tests and local use: two keys, their JWKS file, and tokens of every kind, good and bad.

use std::path::Path;
use std::sync::LazyLock;

use anyhow::{Context, Result};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use millrace_runtime::Clock;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use serde_json::{Value, json};

use crate::secret_file;

/// The `iss` of local tokens.
pub const ISSUER: &str = "millrace";
/// The `aud` of local tokens.
pub const AUDIENCE: &str = "millrace";
const ED25519_FILE: &str = "jwt-ed25519.pem";
const RSA_FILE: &str = "jwt-rsa.pem";

/// Two signing keys, Ed25519 and RSA.
pub struct Issuer {
    ed25519: PKey<Private>,
    rsa: PKey<Private>,
}

/// Which key signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SigningKey {
    /// EdDSA, the default.
    #[default]
    Ed25519,
    /// RS256.
    Rsa,
}

/// What a token claims. The default is a customer's good token for one hour.
#[derive(Debug, Clone)]
pub struct TokenClaims {
    /// `sub`.
    pub subject: String,
    /// `roles`.
    pub roles: Vec<String>,
    /// `tenant`, when given.
    pub tenant: Option<String>,
    /// `iss`.
    pub issuer: String,
    /// `aud`.
    pub audience: String,
    /// Seconds from now to `exp`; negative is expired already.
    pub expires_in: i64,
    /// Seconds from now to `nbf`; positive is not valid yet.
    pub valid_from: i64,
    /// Which key signs.
    pub key: SigningKey,
}

impl Default for TokenClaims {
    fn default() -> Self {
        Self {
            subject: "customer-1".to_owned(),
            roles: Vec::new(),
            tenant: None,
            issuer: ISSUER.to_owned(),
            audience: AUDIENCE.to_owned(),
            expires_in: 3600,
            valid_from: -5,
            key: SigningKey::default(),
        }
    }
}

impl TokenClaims {
    /// A customer's token.
    pub fn customer(subject: impl Into<String>) -> Self {
        Self { subject: subject.into(), ..Self::default() }
    }

    /// An administrator's token.
    #[must_use]
    pub fn admin() -> Self {
        Self { subject: "admin-1".to_owned(), roles: vec!["admin".to_owned()], ..Self::default() }
    }
}

impl Issuer {
    /// New keys.
    ///
    /// # Errors
    /// When the system has no randomness.
    pub fn generate() -> Result<Self> {
        let ed25519 = PKey::generate_ed25519().context("generating an Ed25519 key")?;
        let rsa = Rsa::generate(2048).and_then(PKey::from_rsa).context("generating an RSA key")?;
        Ok(Self { ed25519, rsa })
    }

    /// The keys that this test program shares.
    ///
    /// # Panics
    /// When the system has no randomness.
    #[must_use]
    pub fn shared() -> &'static Self {
        static SHARED: LazyLock<Issuer> =
            LazyLock::new(|| Issuer::generate().expect("the system has randomness"));
        &SHARED
    }

    /// The keys kept in `directory`, made now (readable by their owner alone) if there are none.
    ///
    /// # Errors
    /// When they can't be read or written.
    pub fn load_or_create(directory: &Path) -> Result<Self> {
        let (ed25519, rsa) = (directory.join(ED25519_FILE), directory.join(RSA_FILE));
        if !(ed25519.exists() && rsa.exists()) {
            let new = Self::generate()?;
            secret_file::write(&ed25519, &new.ed25519.private_key_to_pem_pkcs8()?)?;
            secret_file::write(&rsa, &new.rsa.private_key_to_pem_pkcs8()?)?;
        }
        let read = |path: &Path| -> Result<PKey<Private>> {
            let text =
                std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
            PKey::private_key_from_pem(&text).with_context(|| format!("reading {}", path.display()))
        };
        Ok(Self { ed25519: read(&ed25519)?, rsa: read(&rsa)? })
    }

    /// The public keys as a JWK set.
    ///
    /// # Errors
    /// When a key can't be exported.
    pub fn jwks(&self) -> Result<Value> {
        let ed25519 = self.ed25519.raw_public_key().context("exporting the Ed25519 key")?;
        let rsa = self.rsa.rsa().context("exporting the RSA key")?;
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        Ok(json!({ "keys": [
            { "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig",
              "kid": self.key_id(SigningKey::Ed25519)?, "x": text(&ed25519) },
            { "kty": "RSA", "alg": "RS256", "use": "sig",
              "kid": self.key_id(SigningKey::Rsa)?,
              "n": text(&rsa.n().to_vec()), "e": text(&rsa.e().to_vec()) },
        ]}))
    }

    /// Writes the JWK set; whoever watches the file never sees half of it.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn write_jwks(&self, file: &Path) -> Result<()> {
        let text = serde_json::to_vec_pretty(&self.jwks()?).context("writing the key set")?;
        let draft = file.with_extension("draft");
        std::fs::write(&draft, text).with_context(|| format!("writing {}", draft.display()))?;
        std::fs::rename(&draft, file).with_context(|| format!("writing {}", file.display()))
    }

    /// A signed token.
    ///
    /// # Errors
    /// When it can't be signed.
    pub fn token(&self, claims: &TokenClaims) -> Result<String> {
        let now = Clock::system().now_ms() / 1000;
        let mut body = json!({
            "iss": claims.issuer, "aud": claims.audience, "sub": claims.subject,
            "iat": now, "nbf": now + claims.valid_from, "exp": now + claims.expires_in,
            "roles": claims.roles,
        });
        if let Some(tenant) = &claims.tenant {
            body["tenant"] = json!(tenant);
        }
        let (algorithm, key) = match claims.key {
            SigningKey::Ed25519 => {
                let der = self.ed25519.private_key_to_pkcs8().context("exporting the key")?;
                (Algorithm::EdDSA, EncodingKey::from_ed_der(&der))
            }
            SigningKey::Rsa => {
                let der = self.rsa.rsa().and_then(|rsa| rsa.private_key_to_der());
                (Algorithm::RS256, EncodingKey::from_rsa_der(&der.context("exporting the key")?))
            }
        };
        let mut header = Header::new(algorithm);
        header.kid = Some(self.key_id(claims.key)?);
        jsonwebtoken::encode(&header, &body, &key).context("signing the token")
    }

    /// The `kid`: the start of the public key's hash, so that two issuers' keys never share one.
    fn key_id(&self, key: SigningKey) -> Result<String> {
        use sha2::{Digest as _, Sha256};
        let key = match key {
            SigningKey::Ed25519 => &self.ed25519,
            SigningKey::Rsa => &self.rsa,
        };
        let public = key.public_key_to_der().context("exporting the public key")?;
        Ok(URL_SAFE_NO_PAD.encode(&Sha256::digest(public)[..12]))
    }
}

/// A customer's token of the shared issuer, valid for an hour.
///
/// # Panics
/// When it can't be signed.
#[must_use]
pub fn customer_token(subject: &str) -> String {
    Issuer::shared().token(&TokenClaims::customer(subject)).expect("the shared keys sign")
}

/// An administrator's token of the shared issuer, valid for an hour.
///
/// # Panics
/// When it can't be signed.
#[must_use]
pub fn admin_token() -> String {
    Issuer::shared().token(&TokenClaims::admin()).expect("the shared keys sign")
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::jwk::JwkSet;
    use jsonwebtoken::{DecodingKey, Validation, decode, decode_header};

    use super::*;

    fn verify(issuer: &Issuer, token: &str) -> Result<Value> {
        let set: JwkSet = serde_json::from_value(issuer.jwks()?)?;
        let header = decode_header(token)?;
        let key = set.find(header.kid.as_deref().unwrap()).context("no such key")?;
        let mut validation = Validation::new(header.alg);
        validation.set_audience(&[AUDIENCE]);
        validation.set_issuer(&[ISSUER]);
        validation.validate_nbf = true;
        Ok(decode::<Value>(token, &DecodingKey::from_jwk(key)?, &validation)?.claims)
    }

    #[test]
    fn tokens_of_both_keys_verify_against_the_published_set() {
        let issuer = Issuer::generate().unwrap();
        for key in [SigningKey::Ed25519, SigningKey::Rsa] {
            let token = issuer.token(&TokenClaims { key, ..TokenClaims::admin() }).unwrap();
            let claims = verify(&issuer, &token).unwrap();
            assert_eq!(claims["sub"], "admin-1");
            assert_eq!(claims["roles"][0], "admin");
        }
    }

    #[test]
    fn a_token_of_another_issuer_or_time_does_not_verify() {
        let issuer = Issuer::generate().unwrap();
        let stranger = Issuer::generate().unwrap();
        assert!(verify(&issuer, &stranger.token(&TokenClaims::default()).unwrap()).is_err());
        let expired = TokenClaims { expires_in: -600, ..TokenClaims::default() };
        assert!(verify(&issuer, &issuer.token(&expired).unwrap()).is_err());
        let early = TokenClaims { valid_from: 600, ..TokenClaims::default() };
        assert!(verify(&issuer, &issuer.token(&early).unwrap()).is_err());
    }

    #[test]
    fn kept_keys_are_the_same_after_a_restart_and_closed_to_others() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().unwrap();
        let first = Issuer::load_or_create(directory.path()).unwrap();
        let second = Issuer::load_or_create(directory.path()).unwrap();
        assert_eq!(first.jwks().unwrap(), second.jwks().unwrap());
        let mode = directory.path().join(RSA_FILE).metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
