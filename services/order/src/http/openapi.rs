//! The description of this service's API, as OpenAPI. docs/openapi/order.json is made from it.

use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};

#[derive(OpenApi)]
#[openapi(
    paths(
        super::place_order::place_order,
        super::list_orders::list_orders,
        super::order_status::order_status,
        super::cancel_order::cancel_order,
        super::payment_result::payment_result,
    ),
    modifiers(&Bearer),
    info(
        title = "Millrace orders",
        description = "Places orders, tells how they stand, and takes the payment provider's callbacks. Every reply has the form `{\"code\", \"message\", \"data\"}`; errors come as `application/problem+json` when `Accept` names it."
    )
)]
struct Api;

struct Bearer;

impl Modify for Bearer {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("JWT").build();
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("bearer", SecurityScheme::Http(scheme));
    }
}

/// The whole document.
#[must_use]
pub fn document() -> utoipa::openapi::OpenApi {
    Api::openapi()
}
