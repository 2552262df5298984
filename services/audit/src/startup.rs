//! Puts the service together.

use millrace_common::http::cursor::CursorSigner;
use millrace_common::messaging::{Consumer, Mode};
use millrace_common::{Application, Chassis, StartError};
use millrace_contracts::{Topic, groups};

use crate::config::Settings;
use crate::consumers::AuditRecords;
use crate::http::{self, SearchState};
use crate::metrics::Metrics;

/// The service as it runs in production; tests build it with port 0 and their own names.
///
/// # Errors
/// When a part refuses its settings or a port can't be bound.
pub async fn build(settings: Settings) -> Result<Application, StartError> {
    let mut chassis = Chassis::new(&settings);
    let pool = chassis.database(&settings.database)?;
    chassis.verifier(&settings.auth)?;
    chassis.request_log(&settings.kafka, &settings.request_log)?;
    let records = AuditRecords::new(pool.clone(), Metrics::new());
    // Records stand for themselves, so one that fails may be overtaken.
    let records = Consumer::new(groups::AUDIT_RECORD, Topic::AuditTopic, records);
    chassis.consume(&settings.kafka, records.mode(Mode::Shared))?;
    chassis.openapi(http::openapi::document());
    let state = SearchState { pool, signer: CursorSigner::new(&settings.search.cursor_secret) };
    chassis.serve(move |config| http::routes(config, state.clone())).await
}
