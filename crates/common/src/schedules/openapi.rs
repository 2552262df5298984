//! The description of these routes, as OpenAPI, for a service to merge into its own.

use utoipa::OpenApi;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};

use super::{changes, look};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Schedules",
        description = "The scheduled tasks of a service. Each service with tasks has these routes on its own port, \
                       and in its own description; the gateway doesn't pass them on.",
    ),
    paths(
        look::list,
        look::get,
        look::next,
        look::history,
        look::dry_run,
        changes::put,
        changes::remove,
        changes::pause,
        changes::resume,
        changes::trigger,
        changes::backfill,
    ),
    modifiers(&Bearer),
    tags((name = "schedules", description = "The service's tasks. Every route needs the role `admin`.")),
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

/// The document; `merge` it into the service's.
#[must_use]
pub fn document() -> utoipa::openapi::OpenApi {
    Api::openapi()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_says_who_may_and_what_it_answers() {
        let document = serde_json::to_value(document()).unwrap();
        let mut operations = 0;
        for (path, item) in document["paths"].as_object().unwrap() {
            assert!(path.starts_with("/schedules"), "{path}");
            for (method, operation) in item.as_object().unwrap() {
                operations += 1;
                assert_eq!(operation["security"][0]["bearer"], serde_json::json!([]), "{path}");
                for status in ["401", "403", "503"] {
                    let told = &operation["responses"][status]["description"];
                    assert!(told.is_string(), "{method} {path} {status}");
                }
            }
        }
        assert_eq!(operations, 11);
    }
}
