//! What is refused, by which code, and that nothing comes of it.

use serde_json::{Value, json};

use super::harness::Mill;

fn cron(expression: &str, zone: &str) -> Value {
    json!({ "schedule": { "kind": "cron", "expression": expression, "zone": zone } })
}

fn with(field: &str, value: Value) -> Value {
    let mut body = json!({ "schedule": { "kind": "every", "interval_ms": 60_000 } });
    body[field] = value;
    body
}

fn every(interval_ms: Value) -> Value {
    with("schedule", json!({ "kind": "every", "interval_ms": interval_ms }))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_makes_no_sense_is_refused_with_its_fields() {
    let mill = Mill::start().await;
    let unprocessable: [(Value, &str, &[&str]); 17] = [
        (cron("0 0 30 2 *", "UTC"), "schedule.bad_expression", &["schedule.expression"]),
        (cron("every day", "UTC"), "schedule.bad_expression", &["schedule.expression"]),
        (cron(&"*".repeat(300), "UTC"), "schedule.bad_expression", &["schedule.expression"]),
        (cron("@daily", "Mars/Olympus"), "schedule.unknown_zone", &["schedule.zone"]),
        (cron("@daily", ""), "schedule.unknown_zone", &["schedule.zone"]),
        (cron("x", "y"), "schedule.invalid", &["schedule.expression", "schedule.zone"]),
        (every(json!(0)), "schedule.bad_interval", &["schedule.interval_ms"]),
        (every(json!(u64::MAX)), "schedule.bad_interval", &["schedule.interval_ms"]),
        (with("payload", json!("x".repeat(16 * 1024))), "schedule.bad_payload", &["payload"]),
        (with("payload", json!({ "a": "\0" })), "schedule.bad_payload", &["payload"]),
        (with("partition_key", json!("")), "schedule.invalid", &["partition_key"]),
        (with("catch_up_ms", json!(1)), "schedule.invalid", &["catch_up_ms"]),
        (with("jitter_ms", json!(86_400_001)), "schedule.invalid", &["jitter_ms"]),
        (with("deadline_ms", json!(0)), "schedule.invalid", &["deadline_ms"]),
        (with("retry", json!({ "attempts_max": 0 })), "schedule.invalid", &["retry.attempts_max"]),
        (
            with("retry", json!({ "backoff_min_ms": 70_000 })),
            "schedule.invalid",
            &["retry.backoff_min_ms"],
        ),
        (
            with("schedule", json!({ "kind": "at", "instant_ms": -1 })),
            "schedule.invalid",
            &["schedule.instant_ms"],
        ),
    ];
    let malformed: [(Value, &str); 7] = [
        (json!({}), "schedule"),
        (with("schedule", json!({ "kind": "moon" })), "schedule"),
        (
            with("schedule", json!({ "kind": "every", "interval_ms": 1_000, "zone": "UTC" })),
            "schedule",
        ),
        (every(json!(-1)), "schedule"),
        (with("overlap", json!("maybe")), "overlap"),
        (with("catch_up_ms", json!("1m")), "catch_up_ms"),
        (with("priority", json!(1)), "priority"),
    ];
    for (method, path) in [("PUT", "/schedules/t"), ("POST", "/schedules/dry-run")] {
        for (body, code, fields) in &unprocessable {
            let refused = mill.refusal(method, path, Some(body)).await;
            let fields = fields.iter().map(|&field| field.to_owned()).collect();
            assert_eq!(refused, (422, (*code).to_owned(), fields), "{body}");
        }
        for (body, field) in &malformed {
            let (status, code, fields) = mill.refusal(method, path, Some(body)).await;
            assert_eq!((status, code.as_str()), (400, "http.invalid_request"), "{body}");
            assert!(fields[0].starts_with(field), "{body}: {fields:?}");
        }
    }
    assert!(mill.told().await.is_empty());
    assert_eq!(mill.ask("GET", "/schedules").await.1["tasks"], json!([]));
    mill.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_numbers_cursors_and_notes_have_bounds() {
    let mill = Mill::start().await;
    assert_eq!(mill.send("PUT", "/schedules/t", &every(json!(60_000))).await.0, 201);
    let long = format!("/schedules/{}", "x".repeat(129));
    for (method, path, body, field) in [
        ("GET", "/schedules/Upper", Value::Null, "id"),
        ("GET", "/schedules/a%00", Value::Null, "id"),
        ("GET", "/schedules/a%FF", Value::Null, "id"),
        ("PUT", long.as_str(), every(json!(60_000)), "id"),
        ("PUT", "/schedules/t?expected_version=-1", every(json!(60_000)), "expected_version"),
        ("DELETE", "/schedules/t", Value::Null, "expected_version"),
        ("DELETE", "/schedules/t?expected_version=x", Value::Null, "expected_version"),
        ("DELETE", "/schedules/t?version=1", Value::Null, "version"),
        ("GET", "/schedules?limit=0", Value::Null, "limit"),
        ("GET", "/schedules?limit=201", Value::Null, "limit"),
        ("GET", "/schedules?cursor=A", Value::Null, "cursor"),
        ("GET", "/schedules/t/history?cursor=yesterday", Value::Null, "cursor"),
        ("GET", "/schedules/t/history?cursor=9223372036854775807", Value::Null, "cursor"),
        ("GET", "/schedules/t/history?cursor=-1", Value::Null, "cursor"),
        ("GET", "/schedules/t/history?state=lost", Value::Null, "state"),
        ("GET", "/schedules/t/next?count=101", Value::Null, "count"),
        ("GET", "/schedules/t/next?count=0", Value::Null, "count"),
        ("POST", "/schedules/t/pause", json!({ "note": "  " }), "note"),
        ("POST", "/schedules/t/pause", json!({ "note": "é".repeat(1_001) }), "note"),
        ("POST", "/schedules/t/pause", json!({ "note": "a\0" }), "note"),
        ("POST", "/schedules/t/pause", json!({}), "note"),
    ] {
        let body = Some(&body).filter(|body| !body.is_null());
        let refused = mill.refusal(method, path, body).await;
        let expected = (400, "http.invalid_request".to_owned(), vec![field.to_owned()]);
        assert_eq!(refused, expected, "{method} {path}");
    }
    for (method, path) in [
        ("GET", "/schedules/u"),
        ("POST", "/schedules/u/resume"),
        ("POST", "/schedules/u/trigger"),
        ("GET", "/schedules/u/next"),
        ("DELETE", "/schedules/u?expected_version=1"),
    ] {
        let (status, code, _) = mill.refusal(method, path, None).await;
        assert_eq!((status, code.as_str()), (404, "schedule.not_found"), "{method} {path}");
    }
    assert_eq!(mill.ask("GET", "/schedules/t").await.1["version"], 1);
    mill.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_years_are_backfilled_only_by_whoever_says_how_many_and_never_beyond_the_bound() {
    let mill = Mill::start().await;
    assert_eq!(mill.send("PUT", "/schedules/hourly", &cron("@hourly", "UTC")).await.0, 201);
    assert_eq!(mill.send("PUT", "/schedules/daily", &cron("@daily", "UTC")).await.0, 201);
    let decade = |max: Value| json!({ "from": "2010-01-01T00:00:00Z", "to": "2019-12-31T23:59:59Z", "max": max });
    for (task, body, status, code, field) in [
        ("hourly", decade(json!(10_000)), 422, "schedule.too_many_occurrences", "max"),
        ("daily", decade(json!(100)), 422, "schedule.too_many_occurrences", "max"),
        ("daily", decade(json!(10_001)), 400, "http.invalid_request", "max"),
        ("daily", decade(json!(0)), 400, "http.invalid_request", "max"),
        ("daily", decade(json!(-1)), 400, "http.invalid_request", "max"),
        (
            "daily",
            json!({ "from": "2010-01-01T00:00:00Z", "to": "0" , "max": 1 }),
            422,
            "schedule.bad_range",
            "to",
        ),
        (
            "daily",
            json!({ "from": "0", "to": "9000-01-01T00:00:00Z", "max": 1 }),
            422,
            "schedule.bad_range",
            "to",
        ),
        (
            "daily",
            json!({ "from": "last week", "to": "0", "max": 1 }),
            400,
            "http.invalid_request",
            "from",
        ),
        (
            "daily",
            json!({ "from": "0", "to": "253402300800000", "max": 1 }),
            400,
            "http.invalid_request",
            "to",
        ),
    ] {
        let path = format!("/schedules/{task}/backfill");
        let refused = mill.refusal("POST", &path, Some(&body)).await;
        assert_eq!(refused, (status, code.to_owned(), vec![field.to_owned()]), "{body}");
    }
    let missing = json!({ "from": "2010-01-01T00:00:00Z", "to": "2019-12-31T23:59:59Z" });
    let (status, code, _) = mill.refusal("POST", "/schedules/daily/backfill", Some(&missing)).await;
    assert_eq!((status, code.as_str()), (400, "http.invalid_request"), "nobody said how many");
    for task in ["hourly", "daily"] {
        let (_, history) = mill.ask("GET", &format!("/schedules/{task}/history")).await;
        assert_eq!(history["occurrences"], json!([]), "{task}: nothing was made");
    }
    let made = mill.send("POST", "/schedules/daily/backfill", &decade(json!(3_652))).await;
    assert_eq!(made, (202, json!({ "occurrences": 3_652 })), "asked for with their number");
    mill.finish().await;
}
