//! The HTTP edge: every route in one list. Handlers parse, call one use case and render.

mod callback_signature;
mod cancel_order;
mod dto;
mod error;
mod idempotency_key;
mod list_orders;
pub(crate) mod openapi;
mod order_status;
mod payment_result;
mod place_order;

pub(crate) use callback_signature::CallbackVerifier;

use actix_web::web::{self, ServiceConfig};
use millrace_common::http::cursor::CursorSigner;
use millrace_common::http::{Authenticate, Caller};

use crate::app::App;
use crate::domain::Customer;

/// What handlers share; built once, before any worker.
#[derive(Debug, Clone)]
pub(crate) struct HttpState {
    pub(crate) app: App,
    pub(crate) callbacks: CallbackVerifier,
    pub(crate) cursors: CursorSigner,
}

pub(crate) fn routes(config: &mut ServiceConfig, state: HttpState) {
    config
        .app_data(web::Data::new(state))
        // The provider has no token: its callback is let in by its signature.
        .service(
            web::resource("/api/v1/payments/results")
                .route(web::post().to(payment_result::payment_result)),
        )
        .service(
            web::scope("/api/v1/orders")
                .wrap(Authenticate::caller())
                .service(
                    web::resource("")
                        .route(web::post().to(place_order::place_order))
                        .route(web::get().to(list_orders::list_orders)),
                )
                .service(web::resource("/{id}").route(web::get().to(order_status::order_status)))
                .service(
                    web::resource("/{id}/cancel").route(web::post().to(cancel_order::cancel_order)),
                ),
        );
}

fn customer(caller: &Caller) -> Customer {
    Customer { id: caller.subject.clone(), tenant: caller.tenant.clone() }
}
