//! A task from its making to its end, and pages of many.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::harness::{Mill, admin};

const HOUR_MS: i64 = 3_600_000;

#[tokio::test(flavor = "multi_thread")]
async fn a_task_lives_from_its_making_to_its_removal() {
    let mill = Mill::start().await;
    let cron = json!({ "schedule": { "kind": "cron", "expression": "30 2 * * *", "zone": "Europe/Berlin" } });
    let (status, dry) = mill.send("POST", "/schedules/dry-run?count=3", &cron).await;
    assert_eq!((status, dry["instants"].as_array().map(Vec::len)), (200, Some(3)), "{dry}");
    let (status, made) = mill.send("PUT", "/schedules/dry-run", &cron).await;
    assert_eq!((status, &made["version"], &made["origin"]), (201, &json!(1), &json!("operator")));
    assert_eq!(made["schedule"]["dst"], "once");
    assert_eq!((&made["overlap"], &made["retry"]["attempts_max"]), (&json!("skip"), &json!(5)));
    assert_eq!((&made["next_at"], &made["paused"]), (&dry["instants"][0], &Value::Null));
    let (_, next) = mill.ask("GET", "/schedules/dry-run/next?count=3").await;
    assert_eq!(next["instants"], dry["instants"]);
    assert_eq!(mill.ask("GET", "/schedules/dry-run").await, (200, made));

    let hourly = json!({
        "schedule": { "kind": "every", "interval_ms": HOUR_MS, "anchor_ms": 60_000 },
        "payload": { "limit": 7 }, "partition_key": "stock", "overlap": "buffer_all",
        "catch_up_ms": 600_000, "jitter_ms": 1_000, "deadline_ms": 5_000,
        "retry": { "attempts_max": 2, "backoff_min_ms": 100, "backoff_max_ms": 200 },
    });
    let (status, edited) = mill.send("PUT", "/schedules/dry-run?expected_version=1", &hourly).await;
    assert_eq!((status, &edited["version"]), (200, &json!(2)), "{edited}");
    for (field, value) in hourly.as_object().unwrap() {
        assert_eq!(&edited[field], value, "{field}");
    }

    let note = json!({ "note": "the supplier is moving" });
    let (status, paused) = mill.send("POST", "/schedules/dry-run/pause", &note).await;
    assert_eq!((status, &paused["paused"]["note"]), (200, &note["note"]), "{paused}");
    assert_eq!((&paused["paused"]["by"], &paused["next_at"]), (&json!(admin()), &Value::Null));
    let refused = mill.refusal("POST", "/schedules/dry-run/trigger", None).await;
    assert_eq!((refused.0, refused.1.as_str()), (409, "schedule.paused"));
    let (status, resumed) = mill.ask("POST", "/schedules/dry-run/resume").await;
    assert_eq!((status, &resumed["paused"]), (200, &Value::Null), "{resumed}");
    assert_eq!(resumed["next_at"].as_i64().unwrap() % HOUR_MS, 60_000);

    let (status, triggered) = mill.ask("POST", "/schedules/dry-run/trigger").await;
    assert_eq!(status, 202, "{triggered}");
    let now = triggered["instant"].as_i64().unwrap();
    let range = json!({ "from": (now - 3 * HOUR_MS).to_string(), "to": now.to_string(), "max": 3 });
    let backfilled = mill.send("POST", "/schedules/dry-run/backfill", &range).await;
    assert_eq!(backfilled, (202, json!({ "occurrences": 3 })));
    let again = mill.send("POST", "/schedules/dry-run/backfill", &range).await;
    assert_eq!(again, (202, json!({ "occurrences": 0 })), "none twice");

    let (status, history) = mill.ask("GET", "/schedules/dry-run/history?state=waiting").await;
    let occurrences = history["occurrences"].as_array().unwrap();
    assert_eq!((status, occurrences.len(), &history["next_cursor"]), (200, 4, &Value::Null));
    assert_eq!(
        (&occurrences[0]["instant"], &occurrences[0]["kind"]),
        (&json!(now), &json!("manual"))
    );
    assert!(occurrences[1..].iter().all(|it| it["kind"] == "backfill"), "{history}");

    let version = resumed["version"].as_i64().unwrap();
    let path = format!("/schedules/dry-run?expected_version={version}");
    assert_eq!(mill.ask("DELETE", &path).await, (200, json!({ "id": "dry-run" })));
    let gone = mill.refusal("GET", "/schedules/dry-run", None).await;
    assert_eq!((gone.0, gone.1.as_str()), (404, "schedule.not_found"));
    let (_, history) = mill.ask("GET", "/schedules/dry-run/history").await;
    let ended = |it: &Value| it["state"] == "cancelled" && it["ended_at"].is_i64();
    let occurrences = history["occurrences"].as_array().unwrap();
    assert!(occurrences.len() == 4 && occurrences.iter().all(ended), "{history}");
    mill.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_neither_repeat_nor_skip() {
    let mill = Mill::start().await;
    let hourly = json!({ "schedule": { "kind": "every", "interval_ms": HOUR_MS } });
    for number in 0..5 {
        let (status, made) = mill.send("PUT", &format!("/schedules/t{number}"), &hourly).await;
        assert_eq!(status, 201, "{made}");
    }
    let names = pages(&mill, "/schedules?limit=2", "tasks", "id").await;
    assert_eq!(names, ["t0", "t1", "t2", "t3", "t4"].map(|name| json!(name)));

    let mut instants = BTreeSet::new();
    for _ in 0..5 {
        let (_, triggered) = mill.ask("POST", "/schedules/t0/trigger").await;
        instants.insert(triggered["instant"].as_i64().unwrap());
    }
    let seen = pages(&mill, "/schedules/t0/history?limit=2", "occurrences", "instant").await;
    let expected: Vec<Value> = instants.iter().rev().map(|instant| json!(instant)).collect();
    assert_eq!((seen.len(), &seen), (5, &expected), "each trigger made one");
    mill.finish().await;
}

/// One field of all items, page by page.
async fn pages(mill: &Mill, path: &str, items: &str, field: &str) -> Vec<Value> {
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let (status, page) = mill.ask("GET", &format!("{path}{cursor}")).await;
        assert_eq!(status, 200, "{page}");
        seen.extend(page[items].as_array().unwrap().iter().map(|item| item[field].clone()));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return seen,
        }
    }
}
