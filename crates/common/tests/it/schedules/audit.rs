//! Each change leaves a record in its own transaction: no change without it, and no record without the change.

use serde_json::{Value, json};

use super::harness::{Mill, SERVICE, admin};

fn every(interval_ms: i64) -> Value {
    json!({ "schedule": { "kind": "every", "interval_ms": interval_ms }, "payload": { "name": "ann" } })
}

#[tokio::test(flavor = "multi_thread")]
async fn each_change_tells_who_did_what_to_which_task() {
    let mill = Mill::start().await;
    let made = mill.send("PUT", "/schedules/t", &every(60_000)).await;
    assert_eq!(made.0, 201, "{made:?}");
    let range = json!({ "from": "2026-01-01T00:00:00Z", "to": "2026-01-01T00:01:00Z", "max": 2 });
    for (method, path, body, status) in [
        ("PUT", "/schedules/t?expected_version=1", every(90_000), 200),
        ("POST", "/schedules/t/pause", json!({ "note": "stocktaking" }), 200),
        ("POST", "/schedules/t/resume", json!(null), 200),
        ("POST", "/schedules/t/resume", json!(null), 200),
        ("POST", "/schedules/t/trigger", json!(null), 202),
        ("POST", "/schedules/t/backfill", range, 202),
        ("DELETE", "/schedules/t?expected_version=4", json!(null), 200),
        // Neither questions nor refusals are changes.
        ("GET", "/schedules/t/history", json!(null), 200),
        ("DELETE", "/schedules/t?expected_version=4", json!(null), 404),
    ] {
        let answered = mill.send(method, path, &body).await;
        assert_eq!(answered.0, status, "{method} {path}: {answered:?}");
    }
    let told = mill.told().await;
    let actions: Vec<&str> = told.iter().map(|it| it["action"].as_str().unwrap()).collect();
    let verbs = ["made", "edited", "paused", "resumed", "triggered", "backfilled", "removed"];
    assert_eq!(actions, verbs.map(|verb| format!("task.{verb}")));
    for entry in &told {
        assert_eq!(entry["actor"], admin(), "{entry}");
        assert_eq!(entry["resource"], format!("{SERVICE}/t"), "{entry}");
        assert!(!entry.to_string().contains("ann"), "a payload may be about somebody: {entry}");
    }
    let edited =
        json!({ "schedule": "every 60000 ms from 0 -> every 90000 ms from 0", "version": "2" });
    assert_eq!(told[1]["detail"], edited);
    assert_eq!(told[2]["detail"], json!({ "note": "stocktaking", "version": "3" }));
    assert_eq!(told[5]["detail"]["occurrences"], "1");
    let (actors, traces): (Vec<String>, Vec<Option<String>>) =
        sqlx::query_as("select ce_actor, traceparent from outbox")
            .fetch_all(&mill.owner)
            .await
            .unwrap()
            .into_iter()
            .unzip();
    assert!(actors.iter().all(|actor| *actor == admin()), "{actors:?}");
    assert!(traces.iter().all(Option::is_some), "{traces:?}");
    mill.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_whose_record_cant_be_written_is_not_made() {
    let mill = Mill::start().await;
    assert_eq!(mill.send("PUT", "/schedules/t", &every(60_000)).await.0, 201);
    let before = mill.ask("GET", "/schedules/t").await;
    sqlx::query("alter table outbox rename to elsewhere").execute(&mill.owner).await.unwrap();
    for (method, path, body) in [
        ("PUT", "/schedules/u", every(60_000)),
        ("PUT", "/schedules/t?expected_version=1", every(90_000)),
        ("POST", "/schedules/t/pause", json!({ "note": "n" })),
        ("POST", "/schedules/t/trigger", json!(null)),
        ("DELETE", "/schedules/t?expected_version=1", json!(null)),
    ] {
        let (status, code, _) = mill.refusal(method, path, Some(&body)).await;
        assert_eq!((status, code.as_str()), (503, "http.unavailable"), "{method} {path}");
    }
    assert_eq!(mill.ask("GET", "/schedules/t").await, before);
    assert_eq!(mill.ask("GET", "/schedules/u").await.0, 404);
    assert_eq!(mill.ask("GET", "/schedules/t/history").await.1["occurrences"], json!([]));
    sqlx::query("alter table elsewhere rename to outbox").execute(&mill.owner).await.unwrap();
    assert_eq!(mill.told().await.len(), 1);
    mill.finish().await;
}
