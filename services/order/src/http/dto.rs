//! What the API takes and gives: JSON in, domain out, and back. Unknown fields are refused.

use millrace_common::http::ApiError;
use millrace_common::http::search::PageLimit;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::domain::line::{BasketError, LINES_MAX, QUANTITY_MAX, SKU_BYTES_MAX};
use crate::domain::money::AMOUNT_MINOR_MAX;
use crate::domain::payment::PAYMENT_ID_BYTES_MAX;
use crate::domain::{
    Basket, CancelReason, Currency, Money, OrderId, OrderStatus, Payment, PaymentId, PaymentResult,
    Quantity, Sku, Wanted,
};
use crate::store::status_view::{LineView, OrderSummary, OrderView};
use crate::wire::milliseconds;

/// Longest reason of a failed payment that is kept.
const REASON_BYTES_MAX: usize = 256;

/// What a customer orders. Prices are the shop's: a client never sends one.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PlaceOrderRequest {
    /// 1 to 50 lines, each SKU once.
    #[schema(min_items = 1, max_items = 50)]
    lines: Vec<LineRequest>,
}

/// One line of an order.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LineRequest {
    /// The product.
    #[schema(min_length = 1, max_length = 64, pattern = "^[A-Za-z0-9._-]+$", example = "TEA-1")]
    sku: String,
    /// How many pieces.
    #[schema(minimum = 1, maximum = 10000, example = 2)]
    quantity: i64,
}

impl PlaceOrderRequest {
    /// Every wrong field is named, not only the first.
    pub(super) fn basket(&self) -> Result<Basket, ApiError> {
        let mut problems = Vec::new();
        let mut wanted = Vec::with_capacity(self.lines.len().min(LINES_MAX));
        // Lines beyond the limit are not looked at one by one: their number is the problem.
        for (index, line) in self.lines.iter().take(LINES_MAX).enumerate() {
            let sku = Sku::parse(&line.sku);
            if sku.is_none() {
                let problem =
                    format!("must be 1 to {SKU_BYTES_MAX} of letters, digits, `.`, `_` and `-`");
                problems.push((format!("lines[{index}].sku"), problem));
            }
            let quantity = Quantity::try_new(line.quantity);
            if quantity.is_none() {
                let problem = format!("must be 1 to {QUANTITY_MAX}");
                problems.push((format!("lines[{index}].quantity"), problem));
            }
            wanted.extend(sku.zip(quantity).map(|(sku, quantity)| Wanted { sku, quantity }));
        }
        if self.lines.len() > LINES_MAX {
            let error = BasketError::TooManyLines { count: self.lines.len() };
            problems.push(basket_problem(&error));
        }
        if problems.is_empty() {
            return Basket::try_new(wanted).map_err(|error| refusal(vec![basket_problem(&error)]));
        }
        Err(refusal(problems))
    }

    /// The same request has the same text, however it was spaced.
    pub(super) fn canonical(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("texts and numbers are always JSON")
    }
}

fn basket_problem(error: &BasketError) -> (String, String) {
    match error {
        BasketError::Empty => ("lines".into(), "must have at least one line".into()),
        BasketError::TooManyLines { count } => {
            ("lines".into(), format!("must have at most {LINES_MAX} lines, has {count}"))
        }
        BasketError::RepeatedSku { index } => {
            (format!("lines[{index}].sku"), "is named by an earlier line already".into())
        }
    }
}

fn refusal(problems: Vec<(String, String)>) -> ApiError {
    let code = &millrace_common::http::codes::INVALID_REQUEST;
    let error = ApiError::new(code, "a part of the request has a wrong value");
    problems.into_iter().fold(error, |error, (field, problem)| error.field(field, problem))
}

/// An order that was accepted, and where to ask what becomes of it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PlacedReply {
    order_id: Uuid,
    /// `placed`
    status: &'static str,
    /// Where to ask, below this server's address.
    #[schema(example = "/api/v1/orders/01927c1e-0000-7000-8000-000000000001")]
    status_url: String,
}

impl PlacedReply {
    pub(super) fn of(id: OrderId, status: OrderStatus) -> Self {
        let status_url = format!("/api/v1/orders/{id}");
        Self { order_id: id.0, status: status.as_str(), status_url }
    }
}

/// One order.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct OrderReply {
    order_id: Uuid,
    /// `placed`, `awaiting_payment`, `confirmed`, `rejected` or `cancelled`.
    status: String,
    /// Why it was cancelled: `customer`, `payment_failed` or `expired`.
    reason: Option<String>,
    currency: String,
    /// In minor units of the currency.
    total_minor: i64,
    lines: Vec<LineReply>,
    /// Milliseconds since 1970-01-01 UTC.
    placed_at: i64,
    /// Until when it must be paid, milliseconds since 1970-01-01 UTC; only while it awaits payment.
    pay_until: Option<i64>,
    /// The payment that settled it.
    payment_id: Option<String>,
    /// Grows with each change.
    version: i64,
    /// Milliseconds since 1970-01-01 UTC.
    updated_at: i64,
}

/// One line of an order.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LineReply {
    sku: String,
    quantity: i32,
    /// The price of one piece when the order was placed.
    unit_price_minor: i64,
}

impl From<OrderView> for OrderReply {
    fn from(view: OrderView) -> Self {
        let awaits_payment = view.status == OrderStatus::AwaitingPayment.as_str();
        let line = |line: LineView| LineReply {
            sku: line.sku,
            quantity: line.quantity,
            unit_price_minor: line.unit_price_minor,
        };
        Self {
            order_id: view.order_id,
            status: view.status,
            reason: view.reason,
            currency: view.currency,
            total_minor: view.total_minor,
            lines: view.lines.0.into_iter().map(line).collect(),
            placed_at: milliseconds(view.placed_at),
            pay_until: view.pay_until.filter(|_| awaits_payment).map(milliseconds),
            payment_id: view.payment_id,
            version: view.version,
            updated_at: milliseconds(view.updated_at),
        }
    }
}

/// Which page of the list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListQuery {
    /// Most orders of the page.
    #[serde(default)]
    #[param(value_type = Option<u16>, minimum = 1, maximum = 100)]
    pub(super) limit: PageLimit<20, 100>,
    /// `next_cursor` of the page before.
    pub(super) cursor: Option<String>,
}

/// One page of the caller's own orders, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct OrderPage {
    pub(super) orders: Vec<SummaryReply>,
    /// Where the next page begins; null on the last one.
    pub(super) next_cursor: Option<String>,
}

/// One order in a list.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SummaryReply {
    order_id: Uuid,
    /// As in the order itself.
    status: String,
    /// As in the order itself.
    reason: Option<String>,
    currency: String,
    /// In minor units of the currency.
    total_minor: i64,
    /// Milliseconds since 1970-01-01 UTC.
    placed_at: i64,
}

impl From<OrderSummary> for SummaryReply {
    fn from(summary: OrderSummary) -> Self {
        Self {
            order_id: summary.order_id,
            status: summary.status,
            reason: summary.reason,
            currency: summary.currency,
            total_minor: summary.total_minor,
            placed_at: milliseconds(summary.placed_at),
        }
    }
}

/// An order that is off.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CancelledReply {
    order_id: Uuid,
    /// `cancelled`
    status: &'static str,
    /// `customer`
    reason: Option<&'static str>,
}

impl CancelledReply {
    pub(super) fn of(id: OrderId, status: OrderStatus) -> Self {
        let reason = status.reason().map(CancelReason::as_str);
        Self { order_id: id.0, status: status.as_str(), reason }
    }
}

/// What the payment provider tells.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PaymentResultRequest {
    /// The provider's id of the payment: 1 to 128 visible ASCII characters.
    #[schema(min_length = 1, max_length = 128)]
    payment_id: String,
    /// The order that was paid for.
    order_id: Uuid,
    /// How it ended.
    result: PaymentResultName,
    /// How much, in minor units of the currency.
    #[schema(minimum = 0)]
    amount_minor: i64,
    /// ISO 4217 code.
    #[schema(pattern = "^[A-Z]{3}$")]
    currency: String,
    /// Why it failed.
    #[schema(max_length = 256)]
    reason: Option<String>,
}

/// How a payment ended.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum PaymentResultName {
    /// The money was taken.
    Succeeded,
    /// It was not.
    Failed,
}

impl PaymentResultRequest {
    pub(super) fn payment(&self) -> Result<(OrderId, Payment), ApiError> {
        let id = PaymentId::parse(&self.payment_id);
        let currency = Currency::parse(&self.currency);
        let amount_is_good = (0..=AMOUNT_MINOR_MAX).contains(&self.amount_minor);
        let reason_is_good = self.reason.as_ref().is_none_or(|reason| {
            // PostgreSQL's text holds no NUL.
            reason.len() <= REASON_BYTES_MAX && !reason.contains('\0')
        });
        if let (Some(id), Some(currency), true, true) =
            (id.clone(), currency.clone(), amount_is_good, reason_is_good)
        {
            let result = self.domain_result(currency);
            return Ok((OrderId(self.order_id), Payment { id, result }));
        }
        let id_problem = format!("must be 1 to {PAYMENT_ID_BYTES_MAX} visible ASCII characters");
        let amount_problem = format!("must be 0 to {AMOUNT_MINOR_MAX}");
        let reason_problem = format!("must have at most {REASON_BYTES_MAX} bytes and no NUL");
        let checks = [
            (id.is_some(), "payment_id", id_problem),
            (amount_is_good, "amount_minor", amount_problem),
            (currency.is_some(), "currency", "must be three capital letters".to_owned()),
            (reason_is_good, "reason", reason_problem),
        ];
        let wrong = checks.into_iter().filter(|(good, ..)| !good);
        Err(refusal(wrong.map(|(_, field, problem)| (field.to_owned(), problem)).collect()))
    }

    fn domain_result(&self, currency: Currency) -> PaymentResult {
        match self.result {
            PaymentResultName::Succeeded => {
                PaymentResult::Succeeded(Money { minor: self.amount_minor, currency })
            }
            PaymentResultName::Failed => {
                let reason = self.reason.clone().unwrap_or_else(|| "not given".to_owned());
                PaymentResult::Failed { reason }
            }
        }
    }
}

/// A callback that was taken down. The order's own reply says what became of it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PaymentReply {
    payment_id: String,
    order_id: Uuid,
    /// `succeeded` or `failed`, as it was told.
    result: &'static str,
}

impl PaymentReply {
    pub(super) fn of(order: OrderId, payment: &Payment) -> Self {
        Self {
            payment_id: payment.id.as_str().to_owned(),
            order_id: order.0,
            result: payment.result.as_str(),
        }
    }
}
