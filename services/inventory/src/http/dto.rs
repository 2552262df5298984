//! What travels over HTTP, and how it becomes what the domain knows.

use std::collections::BTreeSet;

use millrace_common::http::ApiError;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::app::adjust_stock::AdjustReason;
use crate::app::find_products::FoundProducts;
use crate::domain::{
    BadValue, Currency, Price, ProductName, ProductTerms, Sku, Stock, StockChange,
};
use crate::store::products::ProductAvailability;

/// Most products that one question may name.
pub(super) const SKUS_MAX: usize = 100;

/// A product and what is free of it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ProductView {
    /// 1 to 64 of letters, digits, `.`, `_` and `-`.
    #[schema(example = "TEA-1")]
    sku: String,
    #[schema(example = "Green tea")]
    name: String,
    /// The price of one piece in minor units of the currency.
    #[schema(example = 1250)]
    price_minor: i64,
    /// ISO 4217 code.
    #[schema(example = "EUR")]
    currency: String,
    /// False when it is no longer sold.
    sellable: bool,
    /// Pieces that can be ordered now.
    #[schema(example = 40)]
    free: i64,
    /// Grows by one with each change of name, price, currency or `sellable`.
    row_version: i64,
}

impl From<ProductAvailability> for ProductView {
    fn from(ProductAvailability { product, free }: ProductAvailability) -> Self {
        Self {
            sku: product.sku.to_string(),
            name: product.terms.name.as_str().to_owned(),
            price_minor: product.terms.price.minor(),
            currency: product.terms.currency.as_str().to_owned(),
            sellable: product.terms.sellable,
            free,
            row_version: product.row_version,
        }
    }
}

/// Several products.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ProductList {
    /// In the order of SKUs, each once.
    products: Vec<ProductView>,
    /// SKUs that are no product.
    unknown: Vec<String>,
}

impl From<FoundProducts> for ProductList {
    fn from(found: FoundProducts) -> Self {
        Self {
            products: found.known.into_iter().map(ProductView::from).collect(),
            unknown: found.unknown.iter().map(Sku::to_string).collect(),
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListProductsQuery {
    /// SKUs, separated by commas.
    sku: String,
}

impl ListProductsQuery {
    pub(super) fn parse(&self) -> Result<BTreeSet<Sku>, ApiError> {
        // Counted before anything is read, so that a long list costs nothing.
        if self.sku.split(',').count() > SKUS_MAX {
            return Err(ApiError::invalid("sku", format!("must name at most {SKUS_MAX} products")));
        }
        let mut fields = Fields::default();
        let parsed = self.sku.split(',').enumerate();
        let skus: BTreeSet<Sku> = parsed
            .filter_map(|(index, text)| fields.take(&format!("sku[{index}]"), Sku::parse(text)))
            .collect();
        fields.finish(Some(skus))
    }
}

/// What an administrator sets of a product.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PutProductBody {
    /// 1 to 200 characters.
    #[schema(min_length = 1, max_length = 200, example = "Green tea")]
    name: String,
    /// The price of one piece in minor units of the currency.
    #[schema(minimum = 0, maximum = 100_000_000_000_i64, example = 1250)]
    price_minor: i64,
    /// ISO 4217 code.
    #[schema(pattern = "^[A-Z]{3}$", example = "EUR")]
    currency: String,
    /// False takes it off sale.
    sellable: bool,
    /// The `row_version` that the caller saw, 0 for «none yet». `If-Match` says the same. Without either, the last
    /// writer wins.
    #[schema(minimum = 0)]
    expected_version: Option<i64>,
}

impl PutProductBody {
    /// The terms, and the version expected by body or header.
    pub(super) fn parse(
        &self,
        if_match: Option<i64>,
    ) -> Result<(ProductTerms, Option<i64>), ApiError> {
        let mut fields = Fields::default();
        let name = fields.take("name", ProductName::parse(&self.name));
        let price = fields.take("price_minor", Price::try_new(self.price_minor));
        let currency = fields.take("currency", Currency::parse(&self.currency));
        let expected = fields.take("expected_version", expected(self.expected_version, if_match));
        let terms = name.zip(price).zip(currency).map(|((name, price), currency)| ProductTerms {
            name,
            price,
            currency,
            sellable: self.sellable,
        });
        fields.finish(terms.zip(expected))
    }
}

fn expected(body: Option<i64>, if_match: Option<i64>) -> Result<Option<i64>, BadValue> {
    match (body, if_match) {
        (Some(version), _) if version < 0 => Err(BadValue("must be at least 0")),
        (Some(body), Some(header)) if body != header => Err(BadValue("differs from If-Match")),
        (body, header) => Ok(body.or(header)),
    }
}

/// Pieces that come in or go out.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AdjustStockBody {
    /// Pieces to add, or to take off when negative; never 0.
    #[schema(minimum = -1_000_000_000_i64, maximum = 1_000_000_000_i64, example = 40)]
    change: i64,
    reason: ReasonText,
}

/// Why stock is adjusted.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ReasonText {
    /// A delivery came in.
    Received,
    /// Somebody counted.
    Correction,
    /// Pieces are broken or lost.
    Damaged,
}

impl AdjustStockBody {
    pub(super) fn parse(&self) -> Result<(StockChange, AdjustReason), ApiError> {
        let mut fields = Fields::default();
        let change = fields.take("change", StockChange::try_new(self.change));
        let reason = match self.reason {
            ReasonText::Received => AdjustReason::Received,
            ReasonText::Correction => AdjustReason::Correction,
            ReasonText::Damaged => AdjustReason::Damaged,
        };
        fields.finish(change.map(|change| (change, reason)))
    }
}

/// Where a product's stock stands.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct StockLevelView {
    #[schema(example = "TEA-1")]
    sku: String,
    /// Everything loaded and not taken off: free + held + sold.
    loaded: i64,
    /// Pieces that can be ordered.
    free: i64,
    /// Pieces held for orders that are not paid yet.
    held: i64,
    /// Pieces sold.
    sold: i64,
    /// Grows by one with each write of the stock.
    row_version: i64,
}

impl StockLevelView {
    pub(super) fn of(sku: &Sku, stock: &Stock) -> Self {
        Self {
            sku: sku.to_string(),
            loaded: stock.loaded(),
            free: stock.free,
            held: stock.held,
            sold: stock.sold,
            row_version: stock.row_version,
        }
    }
}

/// The SKU of a path.
pub(super) fn path_sku(text: &str) -> Result<Sku, ApiError> {
    Sku::parse(text).map_err(|problem| ApiError::invalid("sku", problem.to_string()))
}

/// Collects every wrong field before anything is refused.
#[derive(Default)]
struct Fields(Option<ApiError>);

impl Fields {
    fn take<T>(&mut self, field: &str, parsed: Result<T, BadValue>) -> Option<T> {
        match parsed {
            Ok(value) => Some(value),
            Err(problem) => {
                self.0 = Some(match self.0.take() {
                    None => ApiError::invalid(field, problem.to_string()),
                    Some(refusal) => refusal.field(field, problem.to_string()),
                });
                None
            }
        }
    }

    /// `whole` is there whenever no field was wrong.
    fn finish<T>(self, whole: Option<T>) -> Result<T, ApiError> {
        match (self.0, whole) {
            (None, Some(whole)) => Ok(whole),
            (Some(refusal), _) => Err(refusal),
            (None, None) => Err(ApiError::internal("a field was dropped without a problem")),
        }
    }
}
