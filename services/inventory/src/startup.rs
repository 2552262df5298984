//! Puts the service together; the only file that sees every room.

use millrace_common::messaging::Consumer;
use millrace_common::{Application, Chassis, StartError};
use millrace_contracts::{Topic, groups};

use crate::app::App;
use crate::config::{InventorySettings, Settings};
use crate::consumers::order_events::OrderEvents;
use crate::http;
use crate::jobs::report_overdue;
use crate::metrics::Metrics;

/// The service as it runs in production; tests build it with port 0 and their own names.
///
/// # Errors
/// When a part refuses its settings or a port can't be bound.
pub async fn build(settings: Settings) -> Result<Application, StartError> {
    let mut chassis = Chassis::new(&settings);
    let pool = chassis.database(&settings.database)?;
    let relay = chassis.relay(&pool, &settings.kafka, &settings.outbox);
    chassis.verifier(&settings.auth)?;
    chassis.openapi(http::openapi::document());
    chassis.request_log(&settings.kafka, &settings.request_log)?;
    let app = App { pool, relay, clock: chassis.clock(), metrics: Metrics::register() };

    let InventorySettings { overdue_after, overdue_interval } = settings.inventory;
    let order_events = OrderEvents::new(app.clone());
    let order_events = Consumer::new(groups::INVENTORY_RESERVE, Topic::OrderEvents, order_events)
        .dead_letters(chassis.dead_letters(&app.pool, &app.relay));
    chassis.consume(&settings.kafka, order_events)?;
    let job_app = app.clone();
    chassis.job("report-overdue", overdue_interval, move || {
        report_overdue::run(job_app.clone(), overdue_after)
    });
    chassis.serve(move |config| http::routes(config, app.clone())).await
}
