//! The copy of the routes' description in the docs.

use millrace_common::schedules;
use millrace_testkit::workspace;

#[test]
fn the_description_in_the_docs_is_what_services_serve() {
    let file = workspace::root().join("docs/openapi/schedules.json");
    let mut document = schedules::document().to_pretty_json().unwrap();
    document.push('\n');
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, &document).unwrap();
    }
    let kept = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(kept == document, "docs/openapi/schedules.json is stale: run with UPDATE_DOCS=1");
}
