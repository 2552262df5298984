//! The query API. It shares a process with the consumer and nothing else but the pool, so neither waits for
//! the other's work.

mod dto;
mod error;
pub mod openapi;
mod search;

use actix_web::web;
use millrace_common::http::cursor::CursorSigner;
use sqlx::PgPool;

/// What the handlers share; built once, before any worker.
#[derive(Debug, Clone)]
pub(crate) struct SearchState {
    pub(crate) pool: PgPool,
    pub(crate) signer: CursorSigner,
}

/// Every route of this service.
pub(crate) fn routes(config: &mut web::ServiceConfig, state: SearchState) {
    config
        .app_data(web::Data::new(state))
        .service(web::scope("/api/v1/audit").route("/records", web::get().to(search::search)));
}
