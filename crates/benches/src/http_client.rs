//! A client that costs next to nothing.
//!
//! The load comes from the two cores that are being measured, so every microsecond of the client is taken from the
//! services. This one writes requests that are ready and reads the reply's status and length: no headers are kept,
//! nothing is pooled. It speaks only what the services answer: HTTP/1.1 with a length.

use anyhow::{Context, Result, bail, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const REPLY_BYTES_MAX: usize = 64 * 1024;

/// One connection.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
}

/// What comes before the host in an address.
const SCHEME: &str = "http://";

impl Connection {
    /// Connects to `url` (`http://host:port`).
    ///
    /// # Errors
    /// When nobody listens there.
    pub async fn open(url: &str) -> Result<Self> {
        let host = host_of(url);
        let stream = TcpStream::connect(host).await.with_context(|| format!("connecting {url}"))?;
        stream.set_nodelay(true).context("setting no delay")?;
        Ok(Self { stream, received: Vec::with_capacity(4096) })
    }

    /// Sends a whole request and waits for the reply's status and body.
    ///
    /// # Errors
    /// When the connection breaks or the reply is not what the services answer.
    pub async fn ask(&mut self, request: &[u8]) -> Result<(u16, Vec<u8>)> {
        self.stream.write_all(request).await.context("sending the request")?;
        self.received.clear();
        loop {
            let read =
                self.stream.read_buf(&mut self.received).await.context("reading the reply")?;
            ensure!(read > 0, "the connection was closed");
            ensure!(self.received.len() <= REPLY_BYTES_MAX, "the reply has no end");
            if let Some(reply) = parse(&self.received)? {
                return Ok(reply);
            }
        }
    }
}

/// The host of `http://host:port`, with its port.
#[must_use]
pub fn host_of(url: &str) -> &str {
    url.trim_start_matches(SCHEME)
}

/// The status that a GET is answered with, on a connection of its own.
///
/// # Errors
/// When there is no reply.
pub async fn status_of(url: &str, path: &str) -> Result<u16> {
    let host = host_of(url);
    let mut stream = TcpStream::connect(host).await.with_context(|| format!("connecting {url}"))?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.context("asking")?;
    let mut received = Vec::new();
    stream.read_to_end(&mut received).await.context("reading the reply")?;
    let reply = parse(&received)?;
    reply.map(|(status, _)| status).context("the reply broke off")
}

/// Status and body, once all of it is there.
fn parse(received: &[u8]) -> Result<Option<(u16, Vec<u8>)>> {
    let Some(end) = received.windows(4).position(|bytes| bytes == b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = std::str::from_utf8(&received[..end]).context("the reply's head is no text")?;
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok());
    let status = status.context("the reply has no status")?;
    let length = lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>())
    });
    let Some(length) = length else { bail!("the reply has no length: {head}") };
    let body = &received[end + 4..];
    let length = length.context("the reply's length is no number")?;
    Ok((body.len() >= length).then(|| (status, body[..length].to_vec())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_is_whole_when_its_length_is_there() {
        let text = b"HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\nX: y\r\n\r\n{}";
        assert_eq!(parse(text).unwrap(), Some((202, b"{}".to_vec())));
        for cut in 0..text.len() {
            assert_eq!(parse(&text[..cut]).unwrap(), None, "{cut}");
        }
        assert!(parse(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
    }
}
