//! The HTTP client that all upstreams share; it keeps a pool of connections for each of them.

use std::path::PathBuf;

use reqwest::redirect::Policy;
use reqwest::{Certificate, Client};

use crate::config::UpstreamSettings;

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    #[error("upstreams.ca_file `{}` can't be read", file.display())]
    Read {
        file: PathBuf,
        #[source]
        cause: std::io::Error,
    },
    #[error("upstreams.ca_file `{}` has no certificate in PEM form", file.display())]
    Empty { file: PathBuf },
    #[error("the HTTP client for upstreams can't be built")]
    Build(#[source] reqwest::Error),
}

/// Builds the client: no redirects (they are the client's to follow), no proxies, no decompression.
pub(crate) fn build_client(settings: &UpstreamSettings) -> Result<Client, ClientError> {
    let mut builder = Client::builder()
        .redirect(Policy::none())
        .no_proxy()
        .tcp_nodelay(true)
        .connect_timeout(settings.connect_timeout)
        .read_timeout(settings.body_idle_timeout)
        .pool_max_idle_per_host(settings.pool_idle_max)
        .pool_idle_timeout(settings.pool_idle_timeout);
    if !settings.ca_file.is_empty() {
        builder = builder.tls_certs_only(read_authorities(PathBuf::from(&settings.ca_file))?);
    }
    builder.build().map_err(ClientError::Build)
}

fn read_authorities(file: PathBuf) -> Result<Vec<Certificate>, ClientError> {
    let pem = match std::fs::read(&file) {
        Ok(pem) => pem,
        Err(cause) => return Err(ClientError::Read { file, cause }),
    };
    match Certificate::from_pem_bundle(&pem) {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) | Err(_) => Err(ClientError::Empty { file }),
    }
}
