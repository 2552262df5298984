//! What the service does by the clock: its scheduled tasks and who does their work.

use std::sync::Arc;
use std::time::Duration;

use millrace_common::ServiceTasks;
use millrace_common::runtime::Clock;
use millrace_common::scheduler::{TaskError, TaskForm, TaskHandler, TaskRun};
use millrace_common::schedules::{Entry, Journal};
use millrace_contracts::events::AuditEvent;
use millrace_contracts::groups;

use crate::SERVICE;
use crate::app::App;
use crate::app::reconcile_stock::reconcile_stock;
use crate::app::report_overdue::report_overdue;
use crate::config::InventorySettings;

/// A reconciliation that was due while nobody dispatched is made up for so long: better late than not that day.
const RECONCILE_CATCH_UP_MS: u64 = 12 * 60 * 60 * 1_000;

/// The tasks of this release.
pub(crate) fn tasks(app: &App, settings: &InventorySettings) -> ServiceTasks {
    let overdue = ReportOverdue { app: app.clone(), overdue_after: settings.overdue_after };
    ServiceTasks::new(groups::INVENTORY_TASKS)
        .task("report-overdue", TaskForm::every(settings.overdue_interval), overdue)
        .task("reconcile-stock", reconcile_form(settings), ReconcileStock { app: app.clone() })
}

/// When stock is reconciled.
pub(crate) fn reconcile_form(settings: &InventorySettings) -> TaskForm {
    TaskForm {
        catch_up_ms: RECONCILE_CATCH_UP_MS,
        ..TaskForm::cron(settings.reconcile_cron.as_str(), "UTC")
    }
}

/// Where changes of tasks are told.
pub(crate) fn journal(clock: Clock) -> Arc<Journal> {
    Arc::new(Journal::new(SERVICE, clock, |entry: Entry| {
        let Entry { context, service, action, task, detail } = entry;
        AuditEvent::task_changed(&context, service, &action, &task, detail)
    }))
}

/// Tells of holds that are older than they should be.
#[derive(Debug, Clone)]
struct ReportOverdue {
    app: App,
    overdue_after: Duration,
}

impl TaskHandler for ReportOverdue {
    async fn run(&self, run: TaskRun) -> Result<(), TaskError> {
        let told = report_overdue(&self.app, self.overdue_after, &run).await?;
        if told > 0 {
            tracing::warn!(
                reservations = told,
                "{told} reservation(s) are held longer than {:?}",
                self.overdue_after
            );
        }
        Ok(())
    }
}

/// Compares every product's pieces with what they must add up to.
#[derive(Debug, Clone)]
struct ReconcileStock {
    app: App,
}

impl TaskHandler for ReconcileStock {
    async fn run(&self, run: TaskRun) -> Result<(), TaskError> {
        reconcile_stock(&self.app, &run).await
    }
}
