//! Signed keyset cursors: where the last page ended, bound to the filters it was asked with.
//!
//! A cursor is the position as JSON behind a MAC over position and filters, in URL-safe base64. The caller can
//! read it, but neither alter it nor carry it to another search: a forged position could otherwise be used to
//! probe for rows, and one of other filters would silently skip some.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use millrace_runtime::settings::Secret;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::Sha256;

/// A cursor's text is never longer than this.
const TEXT_BYTES_MAX: usize = 1024;
/// Half of SHA-256's output is plenty against forgery of a page position and keeps links short.
const MAC_BYTES: usize = 16;

/// Signs and checks cursors with one secret, which all instances of a service share.
#[derive(Clone)]
pub struct CursorSigner {
    mac: Hmac<Sha256>,
}

/// The cursor was not given out for this search, or was altered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("cursor does not belong to this search")]
pub struct BadCursor;

impl fmt::Debug for CursorSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CursorSigner(***)")
    }
}

impl CursorSigner {
    /// A signer with the given secret.
    #[must_use]
    pub fn new(secret: &Secret) -> Self {
        let mac = Hmac::new_from_slice(secret.expose().as_bytes());
        Self { mac: mac.expect("HMAC takes keys of any length") }
    }

    /// The cursor for `position` within the search that `filters` describe.
    ///
    /// # Errors
    /// When either can't be written as JSON.
    pub fn encode<P, F>(&self, position: &P, filters: &F) -> Result<String, serde_json::Error>
    where
        P: Serialize,
        F: Serialize,
    {
        let position = serde_json::to_vec(position)?;
        let mut bytes =
            self.sign(&position, filters)?.finalize().into_bytes()[..MAC_BYTES].to_vec();
        bytes.extend_from_slice(&position);
        Ok(URL_SAFE_NO_PAD.encode(bytes))
    }

    /// The position inside a cursor.
    ///
    /// # Errors
    /// [`BadCursor`] unless this signer gave it out for the same filters.
    pub fn decode<P, F>(&self, text: &str, filters: &F) -> Result<P, BadCursor>
    where
        P: DeserializeOwned,
        F: Serialize,
    {
        if text.len() > TEXT_BYTES_MAX {
            return Err(BadCursor);
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| BadCursor)?;
        let (mac, position) = bytes.split_at_checked(MAC_BYTES).ok_or(BadCursor)?;
        let expected = self.sign(position, filters).map_err(|_| BadCursor)?;
        expected.verify_truncated_left(mac).map_err(|_| BadCursor)?;
        serde_json::from_slice(position).map_err(|_| BadCursor)
    }

    fn sign<F: Serialize>(
        &self,
        position: &[u8],
        filters: &F,
    ) -> Result<Hmac<Sha256>, serde_json::Error> {
        let filters = serde_json::to_vec(filters)?;
        let mut mac = self.mac.clone();
        // The length stands first, so that no byte can move from one part to the other.
        mac.update(&(filters.len() as u64).to_be_bytes());
        mac.update(&filters);
        mac.update(position);
        Ok(mac)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_opens_only_for_the_search_it_was_given_out_for() {
        let signer = CursorSigner::new(&Secret::new("k"));
        let text = signer.encode(&(7_i64, "id"), &("actor", "ann")).unwrap();
        let back: (i64, String) = signer.decode(&text, &("actor", "ann")).unwrap();
        assert_eq!(back, (7, "id".to_owned()));
        let elsewhere = signer.decode::<(i64, String), _>(&text, &("actor", "bob"));
        assert_eq!(elsewhere, Err(BadCursor));
        let stranger = CursorSigner::new(&Secret::new("other"));
        assert_eq!(stranger.decode::<(i64, String), _>(&text, &("actor", "ann")), Err(BadCursor));
    }

    #[test]
    fn altered_and_garbage_cursors_are_refused() {
        let signer = CursorSigner::new(&Secret::new("k"));
        let text = signer.encode(&7_i64, &()).unwrap();
        for index in 0..text.len() {
            let mut altered = text.clone().into_bytes();
            altered[index] = if altered[index] == b'A' { b'B' } else { b'A' };
            let altered = String::from_utf8(altered).unwrap();
            assert_eq!(signer.decode::<i64, _>(&altered, &()), Err(BadCursor), "{altered}");
        }
        for garbage in ["", "A", "é", "====", &"A".repeat(5000)] {
            assert_eq!(signer.decode::<i64, _>(garbage, &()), Err(BadCursor));
        }
    }
}
