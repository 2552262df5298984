//! `GET /api/v1/products/{sku}`

use actix_web::http::header::{ETAG, HeaderValue};
use actix_web::web::Data;
use millrace_common::http::{ApiError, Path, Reply, ReplyForm};

use super::dto::{ProductView, path_sku};
use super::error;
use crate::app::App;
use crate::app::find_products::find_products;

/// Price and availability of one product.
#[utoipa::path(
    get,
    path = "/api/v1/products/{sku}",
    tag = "products",
    params(("sku" = String, Path, description = "The product.")),
    responses(
        (status = 200, description = "The product; `ETag` is its version.", body = inline(ReplyForm<ProductView>)),
        (status = 400, description = "`http.invalid_request`", body = millrace_common::http::ErrorReply),
        (status = 401, description = "`auth.*`", body = millrace_common::http::ErrorReply),
        (status = 404, description = "`product.not_found`", body = millrace_common::http::ErrorReply),
        (status = 503, description = "`store.unavailable`, with `Retry-After`", body = millrace_common::http::ErrorReply),
    ),
    security(("bearer" = [])),
)]
pub(crate) async fn get_product(app: Data<App>, path: Path<String>) -> Result<Reply, ApiError> {
    let sku = path_sku(&path.0)?;
    let found = find_products(&app, [sku.clone()].into()).await.map_err(error::failed)?;
    let product = found.known.into_iter().next().ok_or_else(|| error::not_found(&sku))?;
    let tag = etag(product.product.row_version);
    Ok(Reply::ok(ProductView::from(product)).with_header(ETAG, tag))
}

/// The version in the form that `If-Match` takes.
pub(super) fn etag(row_version: i64) -> HeaderValue {
    HeaderValue::from_str(&format!("\"{row_version}\""))
        .expect("digits in quotes are a header value")
}
