//! `/schedules`: what operators see and change of a service's tasks, on the port that requests come in on.
//!
//! A service mounts it with one call, merges [`document`] into its own description, and gives its `Schedules` a
//! [`Journal`], so that each change leaves an audit record in the transaction that makes it. Every route asks for the
//! role `admin`. The verbs, their bounds and their conflicts are the scheduler's; here is only how they travel.
//!
//! ```no_run
//! # use millrace_common::{scheduler::Schedules, schedules};
//! # fn mount(config: &mut actix_web::web::ServiceConfig, own: &Schedules) {
//! schedules::routes(config, own.clone());
//! # }
//! # fn describe(mut description: utoipa::openapi::OpenApi) -> utoipa::openapi::OpenApi {
//! description.merge(schedules::document());
//! # description
//! # }
//! ```

mod changes;
mod dto;
mod error;
mod journal;
mod look;
mod openapi;
mod replies;
mod words;

use actix_web::guard;
use actix_web::web::{self, Data, ServiceConfig};
use millrace_http::Authenticate;
use millrace_http::auth::ROLE_ADMIN;
use millrace_scheduler::Schedules;

pub use journal::{Entry, Journal};
pub use openapi::document;

/// Every route for these tasks.
pub fn routes(config: &mut ServiceConfig, schedules: Schedules) {
    let verb = |path: &str, route| web::resource(format!("/{{id}}/{path}")).route(route);
    config.service(
        web::scope("/schedules")
            .app_data(Data::new(schedules))
            .wrap(Authenticate::role(ROLE_ADMIN))
            .service(web::resource("").route(web::get().to(look::list)))
            // Only as long as it is a POST: a task may have this name.
            .service(
                web::resource("/dry-run").guard(guard::Post()).route(web::post().to(look::dry_run)),
            )
            .service(
                web::resource("/{id}")
                    .route(web::get().to(look::get))
                    .route(web::put().to(changes::put))
                    .route(web::delete().to(changes::remove)),
            )
            .service(verb("pause", web::post().to(changes::pause)))
            .service(verb("resume", web::post().to(changes::resume)))
            .service(verb("trigger", web::post().to(changes::trigger)))
            .service(verb("backfill", web::post().to(changes::backfill)))
            .service(verb("next", web::get().to(look::next)))
            .service(verb("history", web::get().to(look::history))),
    );
}
