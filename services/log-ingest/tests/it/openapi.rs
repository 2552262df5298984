//! The copy of the API's description in the docs.

use millrace_testkit::workspace;

#[test]
fn the_description_in_the_docs_is_the_services_own() {
    let file = workspace::root().join("docs/openapi/log-ingest.json");
    let mut document = millrace_log_ingest::http::openapi::document().to_pretty_json().unwrap();
    document.push('\n');
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, &document).unwrap();
    }
    let kept = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(kept == document, "docs/openapi/log-ingest.json is stale: run with UPDATE_DOCS=1");
}

#[test]
fn every_schema_that_the_description_names_is_in_it() {
    let text = millrace_log_ingest::http::openapi::document().to_json().unwrap();
    let document: serde_json::Value = serde_json::from_str(&text).unwrap();
    for reference in text.split("\"$ref\":\"#").skip(1) {
        let pointer = reference.split('"').next().unwrap();
        assert!(document.pointer(pointer).is_some(), "{pointer} is missing");
    }
}
