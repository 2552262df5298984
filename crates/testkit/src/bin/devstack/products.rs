//! The products of deploy/local/products.json, put through the public API as an administrator would.

use std::time::Duration;

use anyhow::{Context, Result};
use millrace_testkit::api::{Api, Reply};
use millrace_testkit::tokens::TokenClaims;
use millrace_testkit::workspace;
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use serde_json::json;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::api;
use crate::ports::Ports;
use crate::secrets::Secrets;

/// A price travels from inventory to the order service over Kafka; the first one also waits for consumers to join.
const PRICED_LIMIT: Duration = Duration::from_secs(60);
/// An order of all products and this one is refused in any case, and leaves nothing behind.
const NO_PRODUCT: &str = "NO-SUCH-PRODUCT";

#[derive(Debug, Deserialize)]
struct Product {
    sku: String,
    name: String,
    price_minor: i64,
    currency: String,
    stock: i64,
}

/// Puts each product that isn't there yet, with its stock, and waits until orders can be priced.
pub(crate) async fn load(ports: &Ports, secrets: &Secrets) -> Result<()> {
    let path = workspace::root().join("deploy/local/products.json");
    let text = std::fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
    let products: Vec<Product> = serde_json::from_slice(&text).context("reading products.json")?;
    let admin = api::client(ports, secrets, &TokenClaims::admin())?;
    let mut on_sale = Vec::new();
    for product in &products {
        let sold = load_one(&admin, product).await;
        if sold.with_context(|| format!("loading {}", product.sku))? {
            on_sale.push(product.sku.as_str());
        }
    }
    wait_until_priced(&admin, &on_sale).await
}

/// A product goes on sale only after its stock is in, so «on sale or changed since» means «loaded», also after a
/// start that was cut off in the middle. What somebody changed since stays as it is. Says whether it is on sale.
async fn load_one(admin: &Api, product: &Product) -> Result<bool> {
    let path = format!("/api/v1/products/{}", product.sku);
    let found = admin.get(&path).await?;
    if found.status == StatusCode::OK {
        let sellable = found.data()["sellable"] == true;
        if sellable || found.data()["row_version"] != 1 {
            return Ok(sellable);
        }
    } else {
        anyhow::ensure!(found.status == StatusCode::NOT_FOUND, "{}: {}", found.status, found.body);
        put(admin, &path, product, false).await?;
    }
    let adjustment = json!({ "change": product.stock, "reason": "received" });
    let request = admin
        .request(Method::POST, &format!("/api/v1/stock/{}/adjustments", product.sku))
        .header("Idempotency-Key", format!("first-stock-{}", product.sku));
    done(admin.send(request.json(&adjustment)).await?)?;
    put(admin, &path, product, true).await?;
    Ok(true)
}

async fn put(admin: &Api, path: &str, product: &Product, sellable: bool) -> Result<()> {
    let terms = json!({
        "name": product.name, "price_minor": product.price_minor, "currency": product.currency,
        "sellable": sellable,
    });
    done(admin.send(admin.request(Method::PUT, path).json(&terms)).await?)
}

fn done(reply: Reply) -> Result<()> {
    anyhow::ensure!(reply.status.is_success(), "{}: {}", reply.status, reply.body);
    Ok(())
}

/// Asks for an order of everything until the only thing wrong with it is the product that doesn't exist.
async fn wait_until_priced(buyer: &Api, skus: &[&str]) -> Result<()> {
    let mut lines: Vec<(&str, u32)> = skus.iter().map(|sku| (*sku, 1)).collect();
    lines.push((NO_PRODUCT, 1));
    let started = Instant::now();
    loop {
        let reply = buyer.place(&Uuid::now_v7().to_string(), &lines).await?;
        let said = reply.body.to_string();
        let unpriced = skus.iter().any(|sku| said.contains(sku));
        if reply.code == "order.unknown_sku" && !unpriced {
            return Ok(());
        }
        anyhow::ensure!(
            started.elapsed() < PRICED_LIMIT,
            "the order service doesn't know the prices after {PRICED_LIMIT:?}: {}",
            reply.body
        );
        sleep(Duration::from_millis(100)).await;
    }
}
