//! The public API as one document: the services' own descriptions put together.
//!
//! They are the files under docs/openapi, compiled in; a test of each service keeps its file true, and a test here
//! compares paths and methods with the route table. Nothing is described twice.

use serde_json::{Map, Value, json};
use utoipa::openapi::OpenApi;

const SERVICES: [(&str, &str); 4] = [
    ("order", include_str!("../../../docs/openapi/order.json")),
    ("inventory", include_str!("../../../docs/openapi/inventory.json")),
    ("audit", include_str!("../../../docs/openapi/audit.json")),
    ("log-ingest", include_str!("../../../docs/openapi/log-ingest.json")),
];

const ABOUT: &str = "Orders, products, stock, the audit trail and the request log, behind one gateway. \
    Beside what each operation names, the gateway itself answers 401 and 403 (token, role), 404 and 405 (no such route), \
    408 and 413 (body), 429 (quota, with `Retry-After`, `RateLimit` and `RateLimit-Policy`), 503 (service away or given a \
    rest, with `Retry-After`) and 504 (deadline); docs/errors.md lists the codes.";

/// The whole document.
///
/// # Errors
/// When a compiled-in description is none: a mistake that the test below finds first.
pub(crate) fn document() -> serde_json::Result<OpenApi> {
    serde_json::from_value(merged()?)
}

fn merged() -> serde_json::Result<Value> {
    let (mut paths, mut schemas, mut schemes) = (Map::new(), Map::new(), Map::new());
    for (service, text) in SERVICES {
        let mut one: Value = serde_json::from_str(text)?;
        for operation in operations(&mut one) {
            // Unique within one document; two services may both call theirs `search`.
            if let Some(id) = operation["operationId"].as_str() {
                operation["operationId"] = json!(format!("{}_{id}", service.replace('-', "_")));
            }
        }
        move_into(&mut paths, &mut one["paths"]);
        move_into(&mut schemas, &mut one["components"]["schemas"]);
        move_into(&mut schemes, &mut one["components"]["securitySchemes"]);
    }
    Ok(json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Millrace",
            "description": ABOUT,
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "paths": paths,
        "components": { "schemas": schemas, "securitySchemes": schemes },
    }))
}

fn operations(document: &mut Value) -> impl Iterator<Item = &mut Value> {
    let paths = document["paths"].as_object_mut().into_iter().flat_map(|paths| paths.values_mut());
    paths.filter_map(Value::as_object_mut).flat_map(|operations| operations.values_mut())
}

fn move_into(all: &mut Map<String, Value>, part: &mut Value) {
    if let Value::Object(part) = part.take() {
        all.extend(part);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::routes::RouteTable;

    #[test]
    fn the_document_describes_the_route_table_and_nothing_else() {
        let table = RouteTable::load("").unwrap();
        let routed: BTreeSet<String> = table
            .routes()
            .iter()
            .flat_map(|route| {
                route.methods.iter().map(|m| format!("{} {}", m.as_str(), route.path))
            })
            .collect();
        let document = merged().unwrap();
        let described: BTreeSet<String> = document["paths"]
            .as_object()
            .unwrap()
            .iter()
            .flat_map(|(path, operations)| {
                let methods = operations.as_object().unwrap().keys();
                methods.map(move |method| format!("{} {path}", method.to_uppercase()))
            })
            .collect();
        assert_eq!(described, routed);
    }

    #[test]
    fn nothing_is_lost_or_mixed_up_when_the_parts_are_put_together() {
        let mut whole = merged().unwrap();
        assert_eq!(serde_json::to_value(document().unwrap()).unwrap(), whole);
        let ids: Vec<String> = operations(&mut whole)
            .map(|it| it["operationId"].as_str().unwrap().to_owned())
            .collect();
        let distinct: BTreeSet<&String> = ids.iter().collect();
        assert_eq!(distinct.len(), ids.len());
        let mut known: BTreeMap<String, Value> = BTreeMap::new();
        for (service, text) in SERVICES {
            let one: Value = serde_json::from_str(text).unwrap();
            for (name, schema) in one["components"]["schemas"].as_object().unwrap() {
                let before = known.insert(name.clone(), schema.clone());
                assert!(
                    before.is_none_or(|it| it == *schema),
                    "{service}: {name} has two meanings"
                );
            }
        }
    }
}
