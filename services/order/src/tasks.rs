//! What the service does by the clock: its scheduled tasks and who does their work.
//!
//! The scheduler sees to it that one instance at a time works on an occurrence. While Redis is away it dispatches
//! without a lease, as the settings say; which orders expire is decided by their rows in any case.

use std::sync::Arc;

use millrace_common::ServiceTasks;
use millrace_common::runtime::Clock;
use millrace_common::scheduler::{TaskError, TaskForm, TaskHandler, TaskRun};
use millrace_common::schedules::{Entry, Journal};
use millrace_contracts::events::AuditEvent;
use millrace_contracts::groups;

use crate::app::App;
use crate::app::expire_orders::{Overdue, expire_orders};
use crate::config::OrderSettings;
use crate::wire::SERVICE;

/// They are due every few seconds and nearly always find nothing; what they did find is told by the orders' own events.
const EXPIRY_KEPT_MS: u64 = 24 * 60 * 60 * 1_000;

/// The tasks of this release.
pub(crate) fn tasks(app: &App, settings: &OrderSettings) -> ServiceTasks {
    let form = || TaskForm {
        retention_ms: Some(EXPIRY_KEPT_MS),
        ..TaskForm::every(settings.expiry_interval)
    };
    let handler = |overdue| ExpireOrders { app: app.clone(), overdue };
    ServiceTasks::new(groups::ORDER_TASKS)
        .task("expire-unpaid", form(), handler(Overdue::Unpaid))
        .task("expire-stale-placed", form(), handler(Overdue::Placed))
}

/// Where changes of tasks are told.
pub(crate) fn journal(clock: Clock) -> Arc<Journal> {
    Arc::new(Journal::new(SERVICE, clock, |entry: Entry| {
        let Entry { context, service, action, task, detail } = entry;
        AuditEvent::task_changed(&context, service, &action, &task, detail)
    }))
}

/// Expires orders that have waited too long for one thing.
#[derive(Debug, Clone)]
struct ExpireOrders {
    app: App,
    overdue: Overdue,
}

impl TaskHandler for ExpireOrders {
    async fn run(&self, run: TaskRun) -> Result<(), TaskError> {
        let orders = expire_orders(&self.app, self.overdue, &run).await?;
        if orders > 0 {
            tracing::info!(orders, waited_for = ?self.overdue, "{orders} orders expired");
        }
        Ok(())
    }
}
