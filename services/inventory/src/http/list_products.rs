//! `GET /api/v1/products?sku=a,b`

use actix_web::web::Data;
use millrace_common::http::{ApiError, Query, Reply, ReplyForm};

use super::dto::{ListProductsQuery, ProductList};
use super::error;
use crate::app::App;
use crate::app::find_products::find_products;

/// Price and availability of at most 100 products.
#[utoipa::path(
    get,
    path = "/api/v1/products",
    tag = "products",
    params(("sku" = String, Query, description = "1 to 100 SKUs, separated by commas.")),
    responses(
        (status = 200, description = "The products that exist, and the SKUs that don't.", body = inline(ReplyForm<ProductList>)),
        (status = 400, description = "`http.invalid_request`", body = millrace_common::http::ErrorReply),
        (status = 401, description = "`auth.*`", body = millrace_common::http::ErrorReply),
        (status = 503, description = "`store.unavailable`, with `Retry-After`", body = millrace_common::http::ErrorReply),
    ),
    security(("bearer" = [])),
)]
pub(crate) async fn list_products(
    app: Data<App>,
    query: Query<ListProductsQuery>,
) -> Result<Reply, ApiError> {
    let skus = query.0.parse()?;
    let found = find_products(&app, skus).await.map_err(error::failed)?;
    Ok(Reply::ok(ProductList::from(found)))
}
