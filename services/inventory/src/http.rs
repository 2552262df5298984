//! The routes: parse, call the use case, render. Everything under `/api/v1` needs a token.

mod adjust_stock;
mod dto;
mod error;
mod get_product;
mod list_products;
pub(crate) mod openapi;
mod put_product;

use actix_web::web::{self, ServiceConfig};
use millrace_common::http::Authenticate;

use crate::app::App;

pub(crate) fn routes(config: &mut ServiceConfig, app: App) {
    config.app_data(web::Data::new(app)).service(
        web::scope("/api/v1")
            .wrap(Authenticate::caller())
            .service(web::resource("/products").route(web::get().to(list_products::list_products)))
            .service(
                web::resource("/products/{sku}")
                    .route(web::get().to(get_product::get_product))
                    .route(web::put().to(put_product::put_product)),
            )
            .service(
                web::resource("/stock/{sku}/adjustments")
                    .route(web::post().to(adjust_stock::adjust_stock)),
            ),
    );
}
