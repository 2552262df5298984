//! Wrong settings.

use std::time::Duration;

use millrace_common::load_settings;
use millrace_order::Settings;
use millrace_testkit::process::Process;

const WRONG: [(&str, &str); 10] = [
    ("ORDER__HTTP__PORT", "eighty"),
    ("ORDER__DATABASE__POOL_MAX", "0"),
    ("ORDER__KAFKA__COMMIT_INTERVAL", "1"),
    ("ORDER__ORDER__PAY_WITHIN", "soon"),
    ("ORDER__ORDER__EXPIRY_BATCH", "501"),
    ("ORDER__ORDER__EXPIRY_INTERVAL", "999ms"),
    ("ORDER__ORDER__PLACED_LIMIT", "0s"),
    ("ORDER__SCHEDULER__BATCH", "0"),
    ("ORDER__ORDER__CURSOR_SECRET", "short"),
    ("ORDER__ORDER__CURSOR_SECRETS", "a"),
];
const NAMED: [&str; 12] = [
    "http.port",
    "database.pool_max",
    "database.name",
    "kafka.commit_interval",
    "order.pay_within",
    "order.expiry_batch",
    "order.expiry_interval",
    "order.placed_limit",
    "scheduler.batch",
    "order.payment_secret",
    "order.cursor_secret:",
    "order.cursor_secrets:",
];

fn wrong() -> Vec<(String, String)> {
    WRONG.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn every_wrong_setting_is_reported_at_once() {
    let problems = load_settings::<Settings>(None, wrong()).unwrap_err();
    let text = problems.to_string();
    for key in NAMED {
        assert!(text.contains(key), "{key} is missing in: {text}");
    }
}

#[tokio::test]
async fn a_wrong_configuration_ends_the_process_with_78() {
    let process = Process::start("millrace-order", wrong()).unwrap();
    let status = process.wait_exit(Duration::from_secs(10)).await;
    assert_eq!(status.code(), Some(78), "{}", process.output());
    for key in NAMED {
        assert!(process.output().contains(key), "{key} is missing in: {}", process.output());
    }
    assert!(!process.output().contains("listening"), "{}", process.output());
}
