//! What the measurements share: the running product, the order of things, and the books.

use std::time::Duration;

use anyhow::{Context, Result};
use futures::future::try_join_all;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use millrace_benches::rounds::Rounds;
use millrace_system_tests::{Service, Start, System};
use millrace_testkit::{Stack, tokens, try_wait_until};
use sqlx::PgPool;

use crate::buyer::Buyer;

/// How long a backlog may take: thousands of orders, on a slow machine.
const BACKLOG_PATIENCE: Duration = Duration::from_secs(150);
/// Products known to all services.
pub(crate) const SKUS: usize = 1000;
/// More pieces than all measurements order.
const PIECES: i64 = 1_000_000;
const SET_UP_CONCURRENCY: usize = 16;

/// The product on servers of its own, with [`SKUS`] products in stock.
pub(crate) struct Bench {
    pub(crate) system: System,
    pub(crate) order: PgPool,
    pub(crate) inventory: PgPool,
    pub(crate) rounds: Rounds,
    accepted: usize,
}

impl Bench {
    /// Starts everything. PostgreSQL syncs its log to the disk, as in production; spans go nowhere, as by default.
    pub(crate) async fn start(seed: u64, rounds: usize) -> Result<Self> {
        let stack = Stack::durable().await?;
        let services = ["gateway", "order", "inventory", "audit", "log-ingest"];
        let untraced = |service| (service, "TELEMETRY__OTLP_ENDPOINT", String::new());
        let settings = services.map(untraced).to_vec();
        let start = Start { stack: Some(stack), settings, ..Start::default() };
        let system = System::start_with(start).await;
        let (order, inventory) = (system.database("order"), system.database("inventory"));
        let rounds = Rounds::new(seed, rounds);
        let bench = Self { system, order, inventory, rounds, accepted: 0 };
        bench.fill_the_shop().await?;
        Ok(bench)
    }

    /// Connections straight to the order service.
    pub(crate) async fn buyers(&self, count: usize) -> Result<Vec<Buyer>> {
        let token = tokens::customer_token("customer-1");
        let url = self.system.order.url();
        try_join_all((0..count).map(|_| Buyer::connect(&url, &token))).await
    }

    /// Remembers orders that were answered with 202: the books must have exactly these.
    pub(crate) fn note_accepted(&mut self, orders: usize) {
        self.accepted += orders;
    }

    /// All services but the order service.
    pub(crate) fn downstream(&self) -> [&Service; 4] {
        let System { gateway, inventory, audit, log_ingest, .. } = &self.system;
        [gateway, inventory, audit, log_ingest]
    }

    /// Waits until the order service's relay has nothing left, which would take time from what comes next.
    pub(crate) async fn relay_idle(&self) -> Result<()> {
        self.none("rows in the outbox", "select count(*) from outbox").await
    }

    /// Waits until every order has its reservation or was refused one.
    pub(crate) async fn all_decided(&self) -> Result<()> {
        self.none("orders undecided", "select count(*) from orders where status = 'placed'").await
    }

    /// Whether everything accepted is in the books, once, all the way to the audit trail, without a dead letter.
    pub(crate) async fn promise(&self) -> Result<(), String> {
        let ledger = self.system.ledger(BACKLOG_PATIENCE).await?;
        let booked = usize::try_from(ledger.accepted()).unwrap_or_default();
        if booked == self.accepted {
            Ok(())
        } else {
            Err(format!("{} orders were answered with 202, the books have {booked}", self.accepted))
        }
    }

    async fn none(&self, what: &str, count: &'static str) -> Result<()> {
        try_wait_until(BACKLOG_PATIENCE, || async {
            let left: i64 = sqlx::query_scalar(count)
                .fetch_one(&self.order)
                .await
                .map_err(|error| error.to_string())?;
            if left == 0 { Ok(()) } else { Err(format!("{left} {what}")) }
        })
        .await
        .map_err(anyhow::Error::msg)
    }

    async fn fill_the_shop(&self) -> Result<()> {
        // Straight to the owner: the gateway's quota is made for people.
        let admin = &self.system.admin.at(self.system.inventory.url());
        stream::iter((0..SKUS).map(Ok::<_, anyhow::Error>))
            .try_for_each_concurrent(SET_UP_CONCURRENCY, |number| async move {
                let sku = sku(number);
                admin.put_product(&sku, &sku, 100).await.with_context(|| sku.clone())?;
                admin.adjust_stock(&sku, PIECES).await.with_context(|| sku.clone())
            })
            .await?;
        let wanted = i64::try_from(SKUS).context("counting products")?;
        try_wait_until(BACKLOG_PATIENCE, || async {
            let known = sqlx::query_scalar::<_, i64>("select count(*) from products");
            match known.fetch_one(&self.order).await {
                Ok(known) if known == wanted => Ok(()),
                other => Err(format!("{other:?} of {wanted} products")),
            }
        })
        .await
        .map_err(anyhow::Error::msg)
    }
}

/// The name of one product; number 0 is the hot one.
pub(crate) fn sku(number: usize) -> String {
    format!("SKU-{number:04}")
}

/// Places `count` orders through `buyers` as fast as they are answered; `sku_of` says what the nth one is for.
pub(crate) async fn place_all(
    buyers: &mut [Buyer],
    count: usize,
    sku_of: impl Fn(usize) -> String,
) -> Result<()> {
    let lanes = buyers.len();
    let sku_of = &sku_of;
    let lanes = buyers.iter_mut().enumerate().map(|(lane, buyer)| async move {
        for number in (lane..count).step_by(lanes) {
            buyer.place(&sku_of(number)).await?;
        }
        anyhow::Ok(())
    });
    stream::iter(lanes)
        .buffer_unordered(usize::MAX)
        .try_collect::<()>()
        .await
        .context("placing an order")
}
