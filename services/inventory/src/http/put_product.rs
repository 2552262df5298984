//! `PUT /api/v1/products/{sku}`

use actix_web::HttpRequest;
use actix_web::http::header::{ETAG, IF_MATCH};
use actix_web::web::Data;
use millrace_common::http::{Admin, ApiError, Json, Path, Reply, ReplyForm, message_context};

use super::dto::{ProductView, PutProductBody, path_sku};
use super::error;
use super::get_product::etag;
use crate::app::App;
use crate::app::put_product::{PutProduct, put_product as put};

/// Creates or changes a product.
#[utoipa::path(
    put,
    path = "/api/v1/products/{sku}",
    tag = "products",
    params(
        ("sku" = String, Path, description = "The product."),
        ("If-Match" = Option<String>, Header, description = "The version that the caller saw, `\"3\"`; the same as `expected_version`."),
    ),
    request_body = PutProductBody,
    responses(
        (status = 200, description = "Changed, or as asked already.", body = inline(ReplyForm<ProductView>)),
        (status = 201, description = "Created, with no stock.", body = inline(ReplyForm<ProductView>)),
        (status = 400, description = "`http.invalid_request`, `http.malformed_json`", body = millrace_common::http::ErrorReply),
        (status = 401, description = "`auth.*`", body = millrace_common::http::ErrorReply),
        (status = 403, description = "`auth.forbidden`", body = millrace_common::http::ErrorReply),
        (status = 409, description = "`product.version_conflict`", body = millrace_common::http::ErrorReply),
        (status = 413, description = "`http.body_too_large`", body = millrace_common::http::ErrorReply),
        (status = 415, description = "`http.unsupported_media_type`", body = millrace_common::http::ErrorReply),
        (status = 503, description = "`store.unavailable`, with `Retry-After`", body = millrace_common::http::ErrorReply),
    ),
    security(("bearer" = [])),
)]
pub(crate) async fn put_product(
    admin: Admin,
    app: Data<App>,
    path: Path<String>,
    request: HttpRequest,
    body: Json<PutProductBody>,
) -> Result<Reply, ApiError> {
    let sku = path_sku(&path.0)?;
    let (terms, expected_version) = body.0.parse(if_match(&request)?)?;
    let wanted = PutProduct { sku, terms, expected_version };
    let outcome = put(&app, &wanted, &message_context(&admin.0)).await.map_err(error::failed)?;
    let done = outcome.map_err(|refusal| error::put_refused(&refusal))?;
    let tag = etag(done.product.product.row_version);
    let view = ProductView::from(done.product);
    let reply = if done.created { Reply::created(view) } else { Reply::ok(view) };
    Ok(reply.with_header(ETAG, tag))
}

/// One strong tag, as `ETag` gave it. Lists and `*` have no meaning for a version that is one number.
fn if_match(request: &HttpRequest) -> Result<Option<i64>, ApiError> {
    let mut values = request.headers().get_all(IF_MATCH);
    let Some(value) = values.next() else {
        return Ok(None);
    };
    let version = value
        .to_str()
        .ok()
        .and_then(|text| text.trim().strip_prefix('"')?.strip_suffix('"')?.parse::<i64>().ok())
        .filter(|version| *version >= 0 && values.next().is_none());
    version.map(Some).ok_or_else(|| {
        ApiError::invalid("if-match", "must be one version in quotes, such as \"3\"")
    })
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn if_match_is_one_version_in_quotes() {
        let read = |value: &str| {
            if_match(&TestRequest::default().insert_header((IF_MATCH, value)).to_http_request())
                .map_err(|refusal| refusal.code().code)
        };
        assert_eq!(read("\"3\""), Ok(Some(3)));
        assert_eq!(read(" \"0\" "), Ok(Some(0)));
        for bad in ["3", "*", "\"-1\"", "\"a\"", "W/\"3\"", "\"1\", \"2\"", "\"", ""] {
            assert_eq!(read(bad), Err("http.invalid_request"), "{bad}");
        }
        assert!(matches!(if_match(&TestRequest::default().to_http_request()), Ok(None)));
    }
}
