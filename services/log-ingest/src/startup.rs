//! Puts the service together.

use std::sync::Arc;

use millrace_common::http::cursor::CursorSigner;
use millrace_common::messaging::{Consumer, Mode};
use millrace_common::scheduler::TaskForm;
use millrace_common::schedules::{Entry, Journal};
use millrace_common::{
    Application, Chassis, SchedulerStores, ServiceSettings as _, ServiceTasks, StartError,
};
use millrace_contracts::events::AuditEvent;
use millrace_contracts::{Topic, groups};

use crate::config::Settings;
use crate::consumers::RequestLogs;
use crate::http::{self, SearchState};
use crate::metrics::Metrics;
use crate::partition_upkeep::{NAME, PartitionUpkeep};

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
    chassis.request_log(&settings.kafka, &settings.request_log)?;
    let (clock, metrics, ingest) = (chassis.clock(), Metrics::new(), settings.ingest);
    let upkeep = PartitionUpkeep {
        pool: pool.clone(),
        clock: clock.clone(),
        settings: ingest.clone(),
        metrics: metrics.clone(),
    };
    chassis.tasks().spawn("partitions-at-start", upkeep.clone().at_start());
    let form = TaskForm::every(ingest.upkeep_interval);
    let tasks = ServiceTasks::new(groups::LOG_INGEST_TASKS).task(NAME, form, upkeep);
    let stores = SchedulerStores {
        pool: &pool,
        redis: &redis,
        relay: &relay,
        kafka: &settings.kafka,
        settings: &settings.scheduler,
    };
    let journal = Journal::new(Settings::SERVICE, chassis.clock(), |entry: Entry| {
        let Entry { context, service, action, task, detail } = entry;
        AuditEvent::task_changed(&context, service, &action, &task, detail)
    });
    chassis.scheduler(stores, tasks, Arc::new(journal))?;
    let lines = RequestLogs::new(pool.clone(), clock, ingest, metrics);
    // Lines stand for themselves, so one that fails may be overtaken.
    let lines = Consumer::new(groups::LOG_INGEST_STORE, Topic::RequestLogs, lines);
    chassis.consume(&settings.kafka, lines.mode(Mode::Shared))?;
    chassis.openapi(http::openapi::document());
    let state = SearchState { pool, signer: CursorSigner::new(&settings.search.cursor_secret) };
    chassis.serve(move |config| http::routes(config, state.clone())).await
}
