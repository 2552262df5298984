//! A client that costs next to nothing.
//!
//! The load comes from the two cores that are being measured, so every microsecond of the client is taken from the
//! services. This one writes a request that is ready but for its key and body, and reads the reply's status and
//! length: no headers are kept, nothing is pooled. It speaks only what the services answer: HTTP/1.1 with a length.

use anyhow::{Context, Result, bail, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use uuid::Uuid;

const REPLY_BYTES_MAX: usize = 64 * 1024;

/// One connection of one customer.
#[derive(Debug)]
pub(crate) struct Buyer {
    stream: TcpStream,
    head: String,
    received: Vec<u8>,
}

impl Buyer {
    /// Connects to `url` (`http://host:port`).
    pub(crate) async fn connect(url: &str, token: &str) -> Result<Self> {
        let host = url.trim_start_matches("http://");
        let stream = TcpStream::connect(host).await.with_context(|| format!("connecting {url}"))?;
        stream.set_nodelay(true).context("setting no delay")?;
        let head = format!(
            "POST /api/v1/orders HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n\
             Content-Type: application/json\r\n"
        );
        Ok(Self { stream, head, received: Vec::with_capacity(4096) })
    }

    /// Places an order of one piece under a new key; its id. Anything but 202 is an error.
    pub(crate) async fn place(&mut self, sku: &str) -> Result<Uuid> {
        let key = Uuid::now_v7();
        let body = format!(r#"{{"lines":[{{"sku":"{sku}","quantity":1}}]}}"#);
        let request = format!(
            "{}Idempotency-Key: {key}\r\nContent-Length: {}\r\n\r\n{body}",
            self.head,
            body.len()
        );
        self.stream.write_all(request.as_bytes()).await.context("sending the order")?;
        let (status, body) = self.reply().await?;
        ensure!(status == 202, "{status}: {}", String::from_utf8_lossy(&body));
        order_id(&body)
    }

    async fn reply(&mut self) -> Result<(u16, Vec<u8>)> {
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

/// The status that a GET is answered with, on a connection of its own.
pub(crate) async fn status_of(url: &str, path: &str) -> Result<u16> {
    let host = url.trim_start_matches("http://");
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

fn order_id(body: &[u8]) -> Result<Uuid> {
    let reply: serde_json::Value = serde_json::from_slice(body).context("reading the reply")?;
    let id = reply["data"]["order_id"].as_str().context("the reply has no order id")?;
    id.parse().context("the order id is no UUID")
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

    #[test]
    fn the_order_s_id_is_read_from_the_reply_form() {
        let id = Uuid::now_v7();
        let body = format!(r#"{{"code":"ok","data":{{"order_id":"{id}"}}}}"#);
        assert_eq!(order_id(body.as_bytes()).unwrap(), id);
        assert!(order_id(b"{}").is_err());
    }
}
