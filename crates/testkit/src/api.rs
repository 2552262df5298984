//! A customer, an administrator and a payment provider in front of the gateway: what system tests, the demo and
//! `make pay` say over HTTP.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::payments;
use crate::wait::{try_wait_until, wait_until};

/// One reply: its status and the reply form's parts.
#[derive(Debug, Clone)]
pub struct Reply {
    /// HTTP status.
    pub status: StatusCode,
    /// `code` of the reply form.
    pub code: String,
    /// The whole body.
    pub body: Value,
    /// The headers.
    pub headers: reqwest::header::HeaderMap,
}

impl Reply {
    /// `data` of the reply form.
    #[must_use]
    pub fn data(&self) -> &Value {
        &self.body["data"]
    }

    /// The order's id in `data`.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn order_id(&self) -> Uuid {
        let id = self.data()["order_id"].as_str();
        id.and_then(|id| id.parse().ok()).unwrap_or_else(|| panic!("no order id in {}", self.body))
    }
}

/// Somebody who talks to the public API with one token.
#[derive(Debug, Clone)]
pub struct Api {
    base: String,
    token: String,
    client: reqwest::Client,
}

impl Api {
    /// `base` is the gateway's address, e.g. `http://127.0.0.1:8080`.
    #[must_use]
    pub fn new(base: impl Into<String>, token: impl Into<String>) -> Self {
        let client = reqwest::Client::builder().timeout(Duration::from_secs(10)).build();
        let client = client.expect("a client without TLS settings is built");
        Self { base: base.into(), token: token.into(), client }
    }

    /// The same place with another token.
    #[must_use]
    pub fn with_token(&self, token: impl Into<String>) -> Self {
        Self { token: token.into(), ..self.clone() }
    }

    /// The same token at another place.
    #[must_use]
    pub fn at(&self, base: impl Into<String>) -> Self {
        Self { base: base.into(), ..self.clone() }
    }

    /// A request with the token, to be completed and given to [`Api::send`].
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.base)).bearer_auth(&self.token)
    }

    /// Sends a request and reads the reply form.
    ///
    /// # Errors
    /// When there is no answer or it isn't JSON.
    pub async fn send(&self, request: RequestBuilder) -> Result<Reply> {
        let response = request.send().await.context("no answer")?;
        let (status, headers) = (response.status(), response.headers().clone());
        let text = response.text().await.context("the answer broke off")?;
        let body: Value = serde_json::from_str(&text)
            .with_context(|| format!("{status} with a body that is not JSON: {text}"))?;
        let code = body["code"].as_str().unwrap_or_default().to_owned();
        Ok(Reply { status, code, body, headers })
    }

    /// GET.
    ///
    /// # Errors
    /// As [`Api::send`].
    pub async fn get(&self, path: &str) -> Result<Reply> {
        self.send(self.request(Method::GET, path)).await
    }

    /// POST with a JSON body.
    ///
    /// # Errors
    /// As [`Api::send`].
    pub async fn post(&self, path: &str, body: &Value) -> Result<Reply> {
        self.send(self.request(Method::POST, path).json(body)).await
    }

    /// Places an order of `(sku, quantity)` lines under an idempotency key.
    ///
    /// # Errors
    /// As [`Api::send`].
    pub async fn place(&self, key: &str, lines: &[(&str, u32)]) -> Result<Reply> {
        let lines: Vec<Value> =
            lines.iter().map(|(sku, quantity)| json!({"sku": sku, "quantity": quantity})).collect();
        let request = self.request(Method::POST, "/api/v1/orders").header("Idempotency-Key", key);
        self.send(request.json(&json!({ "lines": lines }))).await
    }

    /// The order as its owner sees it.
    ///
    /// # Errors
    /// As [`Api::send`].
    pub async fn order(&self, order: Uuid) -> Result<Reply> {
        self.get(&format!("/api/v1/orders/{order}")).await
    }

    /// Asks to cancel an order.
    ///
    /// # Errors
    /// As [`Api::send`].
    pub async fn cancel(&self, order: Uuid) -> Result<Reply> {
        self.send(self.request(Method::POST, &format!("/api/v1/orders/{order}/cancel"))).await
    }

    /// Waits until the order has `status`, and returns it.
    ///
    /// # Panics
    /// When it doesn't within `deadline`; the message shows the last one seen.
    pub async fn wait_for_status(&self, order: Uuid, status: &str, deadline: Duration) -> Value {
        wait_until(&format!("order {order} {status}"), deadline, || self.has_status(order, status))
            .await
    }

    /// [`Api::wait_for_status`] for programs that report instead of panicking.
    ///
    /// # Errors
    /// When the order doesn't get there within `deadline`; the message shows the last one seen.
    pub async fn try_wait_for_status(
        &self,
        order: Uuid,
        status: &str,
        deadline: Duration,
    ) -> Result<Value> {
        match try_wait_until(deadline, || self.has_status(order, status)).await {
            Ok(order) => Ok(order),
            Err(seen) => bail!("order {order} is not {status} after {deadline:?}: {seen}"),
        }
    }

    async fn has_status(&self, order: Uuid, status: &str) -> Result<Value, String> {
        let reply = self.order(order).await.map_err(|error| format!("{error:#}"))?;
        let data = reply.data().clone();
        if data["status"] == status { Ok(data) } else { Err(reply.body.to_string()) }
    }

    /// Creates or changes a product, as an administrator.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn put_product(&self, sku: &str, name: &str, price_minor: i64) -> Result<()> {
        let body =
            json!({"name": name, "price_minor": price_minor, "currency": "EUR", "sellable": true});
        let request = self.request(Method::PUT, &format!("/api/v1/products/{sku}"));
        accepted(self.send(request.json(&body)).await?)
    }

    /// Adds pieces to (or takes them off) a product's stock, as an administrator.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn adjust_stock(&self, sku: &str, change: i64) -> Result<()> {
        let request = self
            .request(Method::POST, &format!("/api/v1/stock/{sku}/adjustments"))
            .header("Idempotency-Key", Uuid::now_v7().to_string());
        let body = json!({"change": change, "reason": "received"});
        accepted(self.send(request.json(&body)).await?)
    }

    /// Reports a payment's result as the provider does: no token, a signature.
    ///
    /// # Errors
    /// As [`Api::send`].
    pub async fn payment_result(&self, secret: &str, result: &Value) -> Result<Reply> {
        let body = result.to_string();
        let path = format!("{}/api/v1/payments/results", self.base);
        let mut request = self.client.post(path).header("Content-Type", "application/json");
        for (name, value) in payments::sign(secret, body.as_bytes()) {
            request = request.header(name, value);
        }
        self.send(request.body(body)).await
    }
}

/// What the provider says when it took the whole amount of `order` (as [`Api::order`] shows it).
#[must_use]
pub fn success_for(order: &Value) -> Value {
    json!({
        "payment_id": format!("pay-{}", order["order_id"].as_str().unwrap_or_default()),
        "order_id": order["order_id"],
        "result": "succeeded",
        "amount_minor": order["total_minor"],
        "currency": order["currency"],
    })
}

/// What the provider says when it could not take the money for `order`.
#[must_use]
pub fn failure_for(order: &Value) -> Value {
    let mut result = success_for(order);
    result["result"] = json!("failed");
    result["reason"] = json!("card declined");
    result
}

fn accepted(reply: Reply) -> Result<()> {
    if reply.status.is_success() { Ok(()) } else { bail!("{}: {}", reply.status, reply.body) }
}
