//! The issuer's public keys, read from a file that may change under us.
//!
//! The file is looked at again after an interval, and at once (at most every second) when a token names a key we
//! don't have: that is what a rotation looks like. A file that is gone or broken is reported once and the last
//! good keys stay in force: an outage of whatever writes the file must not lock everybody out.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime};

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;

/// A burst of tokens with made-up key ids reads the file no more often than this.
const UNKNOWN_KEY_INTERVAL: Duration = Duration::from_secs(1);
/// Far above any real key set; a wrong path to something huge must not be read into memory.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Why the key file was not taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum KeyFileError {
    #[error("key file could not be read")]
    Read(#[source] std::io::Error),
    #[error("key file is larger than {FILE_BYTES_MAX} bytes")]
    TooLarge,
    #[error("key file is no JSON Web Key Set")]
    Form(#[source] serde_json::Error),
    #[error("key file has no usable key of an allowed algorithm with a `kid`")]
    NoKey,
}

/// One key and the only algorithm it is used with: a token can't choose.
pub(super) struct Key {
    pub(super) algorithm: Algorithm,
    pub(super) decoding: DecodingKey,
}

type KeySet = HashMap<String, Arc<Key>>;

pub(super) struct KeyFile {
    path: PathBuf,
    allowed: Vec<Algorithm>,
    interval: Duration,
    keys: RwLock<KeySet>,
    // Held only by the one that looks at the file; everybody else goes on with the keys there are.
    looked: Mutex<Looked>,
    failing: AtomicBool,
}

struct Looked {
    at: Instant,
    changed: Option<Version>,
}

/// What tells one content of the file from the next. The length is there because a file system may keep time in
/// whole seconds; a mounted secret is swapped by a link, which changes the inode's time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Version {
    modified: SystemTime,
    bytes: u64,
}

impl KeyFile {
    pub(super) fn open(
        path: PathBuf,
        allowed: Vec<Algorithm>,
        interval: Duration,
        now: Instant,
    ) -> Result<Self, KeyFileError> {
        let (version, keys) = read(&path, &allowed)?;
        Ok(Self {
            path,
            allowed,
            interval,
            keys: RwLock::new(keys),
            looked: Mutex::new(Looked { at: now, changed: Some(version) }),
            failing: AtomicBool::new(false),
        })
    }

    /// The key called `kid`, after a look at the file when one is due.
    pub(super) fn key(&self, kid: &str, now: Instant) -> Option<Arc<Key>> {
        self.look(self.interval, now);
        self.find(kid).or_else(|| {
            self.look(UNKNOWN_KEY_INTERVAL.min(self.interval), now);
            self.find(kid)
        })
    }

    fn find(&self, kid: &str) -> Option<Arc<Key>> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).get(kid).cloned()
    }

    fn look(&self, at_most_every: Duration, now: Instant) {
        // Somebody is looking already: don't wait for the disk.
        let Ok(mut looked) = self.looked.try_lock() else {
            return;
        };
        if now.saturating_duration_since(looked.at) < at_most_every {
            return;
        }
        looked.at = now;
        let version = version(&self.path).ok();
        if version.is_some() && version == looked.changed {
            return;
        }
        match read(&self.path, &self.allowed) {
            Ok((version, keys)) => {
                looked.changed = Some(version);
                self.failing.store(false, Ordering::Relaxed);
                tracing::info!(keys = keys.len(), "token keys were read again");
                *self.keys.write().unwrap_or_else(PoisonError::into_inner) = keys;
            }
            Err(cause) => {
                if !self.failing.swap(true, Ordering::Relaxed) {
                    let chain = millrace_telemetry::error_chain(&cause);
                    tracing::warn!(error = chain, "token keys stay as they were");
                }
            }
        }
    }
}

fn version(path: &PathBuf) -> Result<Version, KeyFileError> {
    let meta = fs::metadata(path).map_err(KeyFileError::Read)?;
    let modified = meta.modified().map_err(KeyFileError::Read)?;
    Ok(Version { modified, bytes: meta.len() })
}

/// Keys as they stand in the file; one of a kind we don't know must not spoil the others.
#[derive(Deserialize)]
struct Document {
    keys: Vec<serde_json::Value>,
}

fn read(path: &PathBuf, allowed: &[Algorithm]) -> Result<(Version, KeySet), KeyFileError> {
    let version = version(path)?;
    if version.bytes > FILE_BYTES_MAX {
        return Err(KeyFileError::TooLarge);
    }
    let text = fs::read(path).map_err(KeyFileError::Read)?;
    let document: Document = serde_json::from_slice(&text).map_err(KeyFileError::Form)?;
    let keys: KeySet = document
        .keys
        .into_iter()
        .filter_map(|value| serde_json::from_value::<Jwk>(value).ok())
        .filter_map(|jwk| {
            let kid = jwk.common.key_id.clone()?;
            let key = key_of(&jwk).filter(|key| allowed.contains(&key.algorithm))?;
            Some((kid, Arc::new(key)))
        })
        .collect();
    if keys.is_empty() { Err(KeyFileError::NoKey) } else { Ok((version, keys)) }
}

/// The key with its algorithm: what the key says, and if it doesn't say, what its type allows of ours. A symmetric
/// key is none, whatever it says.
fn key_of(jwk: &Jwk) -> Option<Key> {
    if jwk.common.public_key_use.as_ref().is_some_and(|usage| *usage != PublicKeyUse::Signature) {
        return None;
    }
    let by_type = if matches!(jwk.algorithm, AlgorithmParameters::RSA(_)) {
        Algorithm::RS256
    } else if matches!(&jwk.algorithm, AlgorithmParameters::OctetKeyPair(pair) if pair.curve == EllipticCurve::Ed25519)
    {
        Algorithm::EdDSA
    } else {
        return None;
    };
    let said = match jwk.common.key_algorithm {
        None => by_type,
        Some(KeyAlgorithm::RS256) => Algorithm::RS256,
        Some(KeyAlgorithm::EdDSA) => Algorithm::EdDSA,
        Some(_) => return None,
    };
    let decoding = DecodingKey::from_jwk(jwk).ok()?;
    (said == by_type).then_some(Key { algorithm: said, decoding })
}
