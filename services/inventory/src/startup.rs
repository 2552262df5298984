//! Puts the service together; the only file that sees every room.

use millrace_common::messaging::Consumer;
use millrace_common::{Application, Chassis, SchedulerStores, StartError};
use millrace_contracts::{Topic, groups};

use crate::app::App;
use crate::config::Settings;
use crate::consumers::order_events::OrderEvents;
use crate::http;
use crate::metrics::Metrics;
use crate::tasks::{journal, tasks};

/// The service as it runs in production; tests build it with port 0 and their own names.
///
/// # Errors
/// When a part refuses its settings or a port can't be bound.
pub async fn build(settings: Settings) -> Result<Application, StartError> {
    let mut chassis = Chassis::new(&settings);
    let pool = chassis.database(&settings.database)?;
    let redis = chassis.redis(&settings.redis)?;
    let relay = chassis.relay(&pool, &settings.kafka, &settings.outbox);
    chassis.verifier(&settings.auth)?;
    chassis.openapi(http::openapi::document());
    chassis.request_log(&settings.kafka, &settings.request_log)?;
    let app = App { pool, relay, clock: chassis.clock(), metrics: Metrics::register() };

    let order_events = OrderEvents::new(app.clone());
    let order_events = Consumer::new(groups::INVENTORY_RESERVE, Topic::OrderEvents, order_events)
        .dead_letters(chassis.dead_letters(&app.pool, &app.relay));
    chassis.consume(&settings.kafka, order_events)?;
    let stores = SchedulerStores {
        pool: &app.pool,
        redis: &redis,
        relay: &app.relay,
        kafka: &settings.kafka,
        settings: &settings.scheduler,
    };
    chassis.scheduler(stores, tasks(&app, &settings.inventory), journal(chassis.clock()))?;
    chassis.serve(move |config| http::routes(config, app.clone())).await
}
