//! `POST /api/v1/stock/{sku}/adjustments`

use actix_web::HttpRequest;
use actix_web::web::Data;
use millrace_common::http::{Admin, ApiError, Json, Path, Reply, ReplyForm, message_context};
use millrace_common::outbox::idempotency::{Fingerprint, IdempotencyKey};

use super::dto::{AdjustStockBody, StockLevelView, path_sku};
use super::error::{self, KeyProblem};
use crate::app::App;
use crate::app::adjust_stock::{AdjustStock, Adjusted, Answer, Repeatable, adjust_stock as adjust};
use crate::domain::{AdjustStockRefusal, Sku, Stock};

/// Loads pieces or takes free ones off, once per `Idempotency-Key`.
#[utoipa::path(
    post,
    path = "/api/v1/stock/{sku}/adjustments",
    tag = "stock",
    params(
        ("sku" = String, Path, description = "The product."),
        ("Idempotency-Key" = String, Header, description = "The caller's own key; a repeat within 24 hours gets the first answer."),
    ),
    request_body = AdjustStockBody,
    responses(
        (status = 200, description = "The stock after the change.", body = inline(ReplyForm<StockLevelView>)),
        (status = 400, description = "`http.invalid_request`, `http.malformed_json`, `idempotency.key_missing`, `idempotency.key_malformed`", body = millrace_common::http::ErrorReply),
        (status = 401, description = "`auth.*`", body = millrace_common::http::ErrorReply),
        (status = 403, description = "`auth.forbidden`", body = millrace_common::http::ErrorReply),
        (status = 404, description = "`product.not_found`", body = millrace_common::http::ErrorReply),
        (status = 409, description = "`stock.not_enough_free`; `idempotency.in_flight`, with `Retry-After`", body = millrace_common::http::ErrorReply),
        (status = 413, description = "`http.body_too_large`", body = millrace_common::http::ErrorReply),
        (status = 415, description = "`http.unsupported_media_type`", body = millrace_common::http::ErrorReply),
        (status = 422, description = "`idempotency.key_reused`, `stock.limit_exceeded`", body = millrace_common::http::ErrorReply),
        (status = 503, description = "`store.unavailable`, with `Retry-After`", body = millrace_common::http::ErrorReply),
    ),
    security(("bearer" = [])),
)]
pub(crate) async fn adjust_stock(
    admin: Admin,
    app: Data<App>,
    path: Path<String>,
    request: HttpRequest,
    body: Json<AdjustStockBody>,
) -> Result<Reply, ApiError> {
    let sku = path_sku(&path.0)?;
    let key = idempotency_key(&request)?;
    let (change, reason) = body.0.parse()?;
    let repeatable = Repeatable {
        caller: admin.0.subject.clone(),
        key,
        fingerprint: fingerprint(&sku, &body.0)?,
    };
    let wanted = AdjustStock { sku, change, reason };
    let context = message_context(&admin.0);
    let render = |outcome: &Result<Stock, AdjustStockRefusal>| render(&wanted.sku, outcome);
    let adjusted =
        adjust(&app, &wanted, &repeatable, &context, render).await.map_err(error::failed)?;
    match adjusted {
        Adjusted::Answered(answer) => error::answered(answer),
        Adjusted::UnknownSku => Err(error::not_found(&wanted.sku)),
        Adjusted::KeyReused => Err(error::key_reused()),
        Adjusted::InFlight => Err(error::in_flight()),
    }
}

/// Over what the body says and not over its bytes: the same request with other blanks is the same request.
fn fingerprint(sku: &Sku, body: &AdjustStockBody) -> Result<Fingerprint, ApiError> {
    let said = serde_json::to_vec(body).map_err(ApiError::internal)?;
    let path = format!("/api/v1/stock/{sku}/adjustments");
    Ok(Fingerprint::of("POST", &path, &said))
}

fn render(sku: &Sku, outcome: &Result<Stock, AdjustStockRefusal>) -> Answer {
    match outcome {
        Ok(stock) => {
            let reply = Reply::ok(StockLevelView::of(sku, stock));
            Answer { status: reply.status(), body: reply.body().to_owned() }
        }
        Err(refusal) => error::adjust_refused(refusal),
    }
}

fn idempotency_key(request: &HttpRequest) -> Result<IdempotencyKey, KeyProblem> {
    let mut values = request.headers().get_all("idempotency-key");
    let value = values.next().ok_or(KeyProblem::Missing)?;
    if values.next().is_some() {
        return Err(KeyProblem::GivenTwice);
    }
    let text = value.to_str().map_err(|_| KeyProblem::NotText)?;
    IdempotencyKey::parse(text).map_err(KeyProblem::Malformed)
}
