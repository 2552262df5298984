//! The description of this service's API, as OpenAPI.

use utoipa::OpenApi;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};

#[derive(OpenApi)]
#[openapi(
    paths(super::search::search),
    components(schemas(super::dto::LevelDto)),
    modifiers(&Bearer),
    info(title = "Millrace request logs", description = "Searches the log lines of all requests. Lines may be lost; see the service's README.")
)]
struct Api;

struct Bearer;

impl utoipa::Modify for Bearer {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("JWT").build();
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("bearer", SecurityScheme::Http(scheme));
    }
}

/// The document; docs/openapi keeps a copy that a test compares.
#[must_use]
pub fn document() -> utoipa::openapi::OpenApi {
    Api::openapi()
}
