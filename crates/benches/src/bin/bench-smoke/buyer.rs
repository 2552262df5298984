//! A customer who places orders over one connection.

use anyhow::{Context, Result, ensure};
use millrace_benches::http_client::{Connection, host_of};
use uuid::Uuid;

/// One connection of one customer.
#[derive(Debug)]
pub(crate) struct Buyer {
    connection: Connection,
    head: String,
}

impl Buyer {
    /// Connects to `url` (`http://host:port`).
    pub(crate) async fn connect(url: &str, token: &str) -> Result<Self> {
        let head = format!(
            "POST /api/v1/orders HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {token}\r\n\
             Content-Type: application/json\r\n",
            host_of(url)
        );
        Ok(Self { connection: Connection::open(url).await?, head })
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
        let (status, body) = self.connection.ask(request.as_bytes()).await?;
        ensure!(status == 202, "{status}: {}", String::from_utf8_lossy(&body));
        order_id(&body)
    }
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
    fn the_order_s_id_is_read_from_the_reply_form() {
        let id = Uuid::now_v7();
        let body = format!(r#"{{"code":"ok","data":{{"order_id":"{id}"}}}}"#);
        assert_eq!(order_id(body.as_bytes()).unwrap(), id);
        assert!(order_id(b"{}").is_err());
    }
}
