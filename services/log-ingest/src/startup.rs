//! Puts the service together.

use millrace_common::http::cursor::CursorSigner;
use millrace_common::messaging::{Consumer, Mode};
use millrace_common::{Application, Chassis, StartError};
use millrace_contracts::{Topic, groups};

use crate::config::Settings;
use crate::consumers::RequestLogs;
use crate::http::{self, SearchState};
use crate::jobs::partition_upkeep::PartitionUpkeep;
use crate::metrics::Metrics;

const UPKEEP: &str = "partition-upkeep";

/// The service as it runs in production; tests build it with port 0 and their own names.
///
/// # Errors
/// When a part refuses its settings or a port can't be bound.
pub async fn build(settings: Settings) -> Result<Application, StartError> {
    let mut chassis = Chassis::new(&settings);
    let pool = chassis.database(&settings.database)?;
    chassis.verifier(&settings.auth)?;
    chassis.request_log(&settings.kafka, &settings.request_log)?;
    let (clock, metrics, ingest) = (chassis.clock(), Metrics::new(), settings.ingest);
    let upkeep = PartitionUpkeep {
        pool: pool.clone(),
        clock: clock.clone(),
        settings: ingest.clone(),
        metrics: metrics.clone(),
    };
    // The first run comes at once, the others by the interval.
    chassis.tasks().spawn(UPKEEP, upkeep.clone().run());
    chassis.job(UPKEEP, ingest.upkeep_interval, move || upkeep.clone().run());
    let lines = RequestLogs::new(pool.clone(), clock, ingest, metrics);
    // Lines stand for themselves, so one that fails may be overtaken.
    let lines = Consumer::new(groups::LOG_INGEST_STORE, Topic::RequestLogs, lines);
    chassis.consume(&settings.kafka, lines.mode(Mode::Shared))?;
    chassis.openapi(http::openapi::document());
    let state = SearchState { pool, signer: CursorSigner::new(&settings.search.cursor_secret) };
    chassis.serve(move |config| http::routes(config, state.clone())).await
}
