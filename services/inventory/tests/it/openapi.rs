//! docs/openapi/inventory.json is what the service serves.

use std::path::Path;

use millrace_inventory::openapi_document;

#[test]
#[expect(clippy::disallowed_methods, reason = "a test program has no settings of its own")]
fn the_published_description_is_the_services_own() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/openapi/inventory.json");
    let mut now = openapi_document().to_pretty_json().expect("the document is JSON");
    now.push('\n');
    if std::env::var("UPDATE_DOCS").is_ok_and(|value| value == "1") {
        std::fs::create_dir_all(file.parent().expect("a file in a directory"))
            .expect("docs/openapi");
        std::fs::write(&file, &now).expect("the description is written");
    }
    let published = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        published == now,
        "docs/openapi/inventory.json is old: run the tests with UPDATE_DOCS=1"
    );
}
