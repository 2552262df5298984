//! The ways an order can go, each with what must be true in the end.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use millrace_testkit::api::{failure_for, success_for};
use millrace_testkit::try_wait_until;
use nix::sys::signal::Signal;
use serde_json::Value;
use uuid::Uuid;

use super::Stage;
use crate::daemon::Daemon;
use crate::environment::PAY_WITHIN;

const FLOW_LIMIT: Duration = Duration::from_secs(20);
/// The time to pay, the expiry's interval, and some room.
const EXPIRY_LIMIT: Duration = Duration::from_secs(90);
const SKU: &str = "TEA-GREEN-100";
const SCARCE_SKU: &str = "BOX-LIMITED";

/// One order that went its way.
pub(crate) struct Scenario {
    pub(crate) title: &'static str,
    pub(crate) order: Uuid,
    status: &'static str,
    reason: Option<&'static str>,
    actions: &'static [&'static str],
}

impl Scenario {
    /// The read view shows the state, and the audit trail has each step exactly once and no other.
    pub(crate) async fn check(&self, stage: &Stage) -> Result<()> {
        let order = stage.customer.try_wait_for_status(self.order, self.status, FLOW_LIMIT).await?;
        ensure!(
            order["reason"].as_str() == self.reason,
            "reason {} instead of {:?}",
            order["reason"],
            self.reason
        );
        let expected: BTreeSet<&str> = self.actions.iter().copied().collect();
        let found = try_wait_until(FLOW_LIMIT, || async {
            let records = records(stage, self.order).await.map_err(|error| format!("{error:#}"))?;
            let found: Vec<&str> =
                records.iter().filter_map(|record| record["action"].as_str()).collect();
            let distinct: BTreeSet<&str> = found.iter().copied().collect();
            if distinct == expected && found.len() == expected.len() {
                Ok(())
            } else {
                Err(found.join(", "))
            }
        })
        .await;
        found.map_err(|found| {
            anyhow::anyhow!("audit records {found} instead of {}", self.actions.join(", "))
        })
    }
}

/// The audit records about an order, oldest first.
pub(crate) async fn records(stage: &Stage, order: Uuid) -> Result<Vec<Value>> {
    let mut all = Vec::new();
    for kind in ["order", "reservation"] {
        let reply =
            stage.admin.get(&format!("/api/v1/audit/records?resource={kind}/{order}")).await?;
        ensure!(reply.status.is_success(), "{}: {}", reply.status, reply.body);
        all.extend(reply.data()["records"].as_array().cloned().unwrap_or_default());
    }
    all.sort_by_key(|record| record["occurred_at"].as_i64());
    Ok(all)
}

/// Plays all of them. The unpaid order comes first and is waited for last.
pub(crate) async fn play(stage: &Stage) -> Result<Vec<Scenario>> {
    let unpaid = place(stage, SKU, 1).await?;
    let mut scenarios = vec![paid(stage).await?, rejected(stage).await?, repeated(stage).await?];
    scenarios.extend([cancelled_after(stage).await?, cancelled_before(stage).await?]);
    scenarios.push(payment_refused(stage).await?);
    println!("waiting for the unpaid order to expire ({PAY_WITHIN} after its stock was held)");
    stage.customer.try_wait_for_status(unpaid, "cancelled", EXPIRY_LIMIT).await?;
    scenarios.push(Scenario {
        title: "An order that nobody pays expires",
        order: unpaid,
        status: "cancelled",
        reason: Some("expired"),
        actions: &[
            "order.place",
            "reservation.hold",
            "order.settle_reservation",
            "order.expire",
            "reservation.release",
        ],
    });
    Ok(scenarios)
}

async fn paid(stage: &Stage) -> Result<Scenario> {
    let order = place(stage, SKU, 2).await?;
    let held = stage.customer.try_wait_for_status(order, "awaiting_payment", FLOW_LIMIT).await?;
    stage.customer.payment_result(&stage.payment_secret, &success_for(&held)).await?;
    Ok(Scenario { title: "An order that is paid", ..confirmed(order) })
}

async fn rejected(stage: &Stage) -> Result<Scenario> {
    Ok(Scenario {
        title: "An order for more than is there is rejected whole",
        order: place(stage, SCARCE_SKU, 1000).await?,
        status: "rejected",
        reason: None,
        actions: &["order.place", "reservation.reject", "order.settle_reservation"],
    })
}

async fn repeated(stage: &Stage) -> Result<Scenario> {
    let key = Uuid::now_v7().to_string();
    let first = stage.customer.place(&key, &[(SKU, 1)]).await?;
    let second = stage.customer.place(&key, &[(SKU, 1)]).await?;
    ensure!(first.status == 202 && first.body == second.body, "a repeated key got {}", second.body);
    let other = stage.customer.place(&key, &[(SKU, 9)]).await?;
    ensure!(other.status == 422, "the same key with another order got {}", other.body);
    let order = first.order_id();
    let held = stage.customer.try_wait_for_status(order, "awaiting_payment", FLOW_LIMIT).await?;
    for _ in 0..2 {
        let told =
            stage.customer.payment_result(&stage.payment_secret, &success_for(&held)).await?;
        ensure!(told.status.is_success(), "a repeated callback got {}", told.body);
    }
    Ok(Scenario {
        title: "A repeated key and a repeated callback have one effect",
        ..confirmed(order)
    })
}

fn confirmed(order: Uuid) -> Scenario {
    Scenario {
        title: "",
        order,
        status: "confirmed",
        reason: None,
        actions: &[
            "order.place",
            "reservation.hold",
            "order.settle_reservation",
            "payment.receive",
            "payment.apply",
            "reservation.confirm",
        ],
    }
}

async fn cancelled_after(stage: &Stage) -> Result<Scenario> {
    let order = place(stage, SKU, 1).await?;
    stage.customer.try_wait_for_status(order, "awaiting_payment", FLOW_LIMIT).await?;
    cancel(stage, order).await?;
    Ok(Scenario {
        title: "An order cancelled after its stock was held",
        order,
        status: "cancelled",
        reason: Some("customer"),
        actions: &[
            "order.place",
            "reservation.hold",
            "order.settle_reservation",
            "order.cancel",
            "reservation.release",
        ],
    })
}

/// Inventory is frozen meanwhile: on a quick machine nobody could cancel before the reservation.
async fn cancelled_before(stage: &Stage) -> Result<Scenario> {
    let inventory = Daemon::running("inventory").context("inventory doesn't run")?;
    inventory.process.signal(Signal::SIGSTOP);
    let cancelled = async {
        let order = place(stage, SKU, 1).await?;
        cancel(stage, order).await?;
        Ok(order)
    };
    let cancelled: Result<Uuid> = cancelled.await;
    inventory.process.signal(Signal::SIGCONT);
    Ok(Scenario {
        title: "An order cancelled before its reservation (inventory is frozen meanwhile)",
        order: cancelled?,
        status: "cancelled",
        reason: Some("customer"),
        actions: &["order.place", "order.cancel", "reservation.hold", "reservation.release"],
    })
}

async fn cancel(stage: &Stage, order: Uuid) -> Result<()> {
    let reply = stage.customer.cancel(order).await?;
    ensure!(reply.status.is_success(), "cancelling got {}", reply.body);
    Ok(())
}

async fn payment_refused(stage: &Stage) -> Result<Scenario> {
    let order = place(stage, SKU, 1).await?;
    let held = stage.customer.try_wait_for_status(order, "awaiting_payment", FLOW_LIMIT).await?;
    stage.customer.payment_result(&stage.payment_secret, &failure_for(&held)).await?;
    Ok(Scenario {
        title: "An order whose payment is refused",
        order,
        status: "cancelled",
        reason: Some("payment_failed"),
        actions: &[
            "order.place",
            "reservation.hold",
            "order.settle_reservation",
            "payment.receive",
            "payment.apply",
            "reservation.release",
        ],
    })
}

async fn place(stage: &Stage, sku: &str, quantity: u32) -> Result<Uuid> {
    let reply = stage.customer.place(&Uuid::now_v7().to_string(), &[(sku, quantity)]).await?;
    ensure!(reply.status == 202, "placing an order got {}", reply.body);
    let order = reply.order_id();
    let at_once = stage.customer.order(order).await?;
    ensure!(at_once.status == 200, "reading an order at once got {}", at_once.body);
    Ok(order)
}
