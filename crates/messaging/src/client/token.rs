//! OAUTHBEARER tokens from a file that something else (the kubelet, a sidecar) keeps fresh.
//!
//! The broker verifies the token; here it is only read for its end and subject, which the client library wants
//! to know. A text that is no JWT is taken as it is and read again after five minutes.

use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use millrace_runtime::Clock;
use rdkafka::client::OAuthToken;
use serde::Deserialize;

/// How long a token is used whose end can't be read.
const OPAQUE_TOKEN_LIFETIME: Duration = Duration::from_secs(300);

/// No honest token is longer.
const TOKEN_BYTES_MAX: usize = 64 * 1024;

#[derive(Debug, thiserror::Error)]
pub(super) enum TokenError {
    #[error("token file `{}` was not read", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("token file `{}` holds no token", path.display())]
    Unusable { path: PathBuf },
}

#[derive(Debug, Default, Deserialize)]
struct Claims {
    exp: Option<i64>,
    sub: Option<String>,
}

pub(super) fn read(path: &Path) -> Result<OAuthToken, TokenError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| TokenError::Read { path: path.to_owned(), source })?;
    let token = text.trim();
    let plausible = !token.is_empty()
        && token.len() <= TOKEN_BYTES_MAX
        && token.bytes().all(|byte| byte.is_ascii_graphic());
    if !plausible {
        return Err(TokenError::Unusable { path: path.to_owned() });
    }
    let claims = claims(token).unwrap_or_default();
    let opaque_ms = i64::try_from(OPAQUE_TOKEN_LIFETIME.as_millis()).unwrap_or(i64::MAX);
    let lifetime_ms =
        claims.exp.map_or_else(|| Clock::system().now_ms() + opaque_ms, |s| s.saturating_mul(1000));
    let principal_name = claims.sub.filter(|sub| !sub.contains('\0')).unwrap_or_default();
    Ok(OAuthToken { token: token.to_owned(), principal_name, lifetime_ms })
}

fn claims(token: &str) -> Option<Claims> {
    let payload = token.split('.').nth(1)?;
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token_of(text: &str) -> Result<OAuthToken, TokenError> {
        let name = format!("millrace-token-{}-{}", std::process::id(), uuid::Uuid::now_v7());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, text).unwrap();
        let token = read(&path);
        std::fs::remove_file(&path).unwrap();
        token
    }

    #[test]
    fn a_jwt_tells_its_end_and_subject() {
        let payload = URL_SAFE_NO_PAD.encode(r#"{"sub":"order","exp":1700000000}"#);
        let token = token_of(&format!("e30.{payload}.sig\n")).unwrap();
        assert_eq!(token.token, format!("e30.{payload}.sig"));
        assert_eq!(token.principal_name, "order");
        assert_eq!(token.lifetime_ms, 1_700_000_000_000);
    }

    #[test]
    fn an_opaque_token_is_read_again_soon_and_an_empty_file_is_refused() {
        let left = token_of("opaque").unwrap().lifetime_ms - Clock::system().now_ms();
        assert!((1..=300_000).contains(&left), "{left}");
        assert!(matches!(token_of(" \n"), Err(TokenError::Unusable { .. })));
        assert!(matches!(read(Path::new("/does/not/exist")), Err(TokenError::Read { .. })));
    }
}
