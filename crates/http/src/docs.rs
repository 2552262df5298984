//! The API's description, at `/openapi.json` and as a page at `/docs/`.

use actix_web::HttpResponse;
use actix_web::http::header;
use actix_web::web::{self, ServiceConfig};
use utoipa::openapi::OpenApi;
use utoipa_swagger_ui::{Config, SwaggerUi};

const DOCUMENT: &str = "/openapi.json";

pub(crate) fn configure(config: &mut ServiceConfig, document: &OpenApi) {
    let page = SwaggerUi::new("/docs/{_:.*}")
        .url(DOCUMENT, document.clone())
        // Tokens typed into the page stay in it until it is closed.
        .config(Config::new([DOCUMENT]).persist_authorization(false));
    config.route("/docs", web::get().to(to_page)).service(page);
}

async fn to_page() -> HttpResponse {
    HttpResponse::MovedPermanently().insert_header((header::LOCATION, "/docs/")).finish()
}
