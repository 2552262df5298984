//! Wrong settings.

use std::time::Duration;

use millrace_common::load_settings;
use millrace_log_ingest::Settings;
use millrace_testkit::process::Process;

const WRONG: [(&str, &str); 9] = [
    ("LOG_INGEST__SCHEDULER__BATCH", "0"),
    ("LOG_INGEST__HTTP__PORT", "eighty"),
    ("LOG_INGEST__DATABASE__POOL_MAX", "0"),
    ("LOG_INGEST__KAFKA__COMMIT_INTERVAL", "1"),
    ("LOG_INGEST__INGEST__DAYS_BACK", "91"),
    ("LOG_INGEST__INGEST__RETENTION_DAYS", "14"),
    ("LOG_INGEST__INGEST__UPKEEP_INTERVAL", "0s"),
    ("LOG_INGEST__SEARCH__CURSOR_SECRET", "short"),
    ("LOG_INGEST__SEARCH__CURSOR_SECRETS", "a"),
];
const NAMED: [&str; 9] = [
    "http.port",
    "database.pool_max",
    "kafka.commit_interval",
    "ingest.days_back",
    "ingest.retention_days",
    "ingest.upkeep_interval",
    "scheduler.batch",
    "search.cursor_secret:",
    "search.cursor_secrets:",
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
    let process = Process::start("millrace-log-ingest", wrong()).unwrap();
    let status = process.wait_exit(Duration::from_secs(10)).await;
    assert_eq!(status.code(), Some(78), "{}", process.output());
    for key in NAMED {
        assert!(process.output().contains(key), "{key} is missing in: {}", process.output());
    }
}
