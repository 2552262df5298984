//! Bad settings are told all at once, and nothing is started.

use std::process::Command;

use millrace_common::load_settings;
use millrace_inventory::Settings;

fn needed() -> Vec<(String, String)> {
    let pairs = [
        ("DATABASE__NAME", "millrace_inventory"),
        ("DATABASE__USER", "millrace_inventory_app"),
        ("AUTH__JWKS_FILE", "/etc/millrace/jwks.json"),
    ];
    pairs.iter().map(|(key, value)| (format!("INVENTORY__{key}"), (*value).to_owned())).collect()
}

#[test]
fn the_defaults_need_only_a_database_and_keys() {
    let settings = load_settings::<Settings>(None, needed()).expect("complete");
    assert_eq!(settings.inventory.overdue_after.as_secs(), 3600);
    let bare = load_settings::<Settings>(None, Vec::new()).unwrap_err();
    for key in ["database.name", "database.user", "auth.jwks_file"] {
        assert!(bare.lines().iter().any(|line| line.starts_with(key)), "{key} in {bare}");
    }
}

#[test]
fn a_start_with_bad_settings_lists_them_all_and_exits_with_78() {
    let bad = [
        ("INVENTORY__HTTP__PORT", "eighty"),
        ("INVENTORY__INVENTORY__OVERDUE_AFTER", "0s"),
        ("INVENTORY__INVENTORY__OVERDUE_INTERVAL", "1ms"),
        ("INVENTORY__INVENTORY__RECONCILE_CRON", "0 3 30 2 *"),
        ("INVENTORY__SCHEDULER__BATCH", "0"),
        ("INVENTORY__KAFKA__CONCURRENCY", "10"),
        ("INVENTORY__INVENTORY__OVERDUE_AFTR", "1h"),
    ];
    let output = Command::new(env!("CARGO_BIN_EXE_millrace-inventory"))
        .env_clear()
        .envs(needed())
        .envs(bad)
        .output()
        .expect("the service runs");
    assert_eq!(output.status.code(), Some(78));
    let said = String::from_utf8_lossy(&output.stderr);
    for key in [
        "http.port",
        "inventory.overdue_after",
        "inventory.overdue_interval",
        "inventory.reconcile_cron",
        "scheduler.batch",
        "kafka.concurrency",
        "inventory.overdue_aftr",
    ] {
        assert!(said.contains(key), "{key} is missing in {said}");
    }
}
