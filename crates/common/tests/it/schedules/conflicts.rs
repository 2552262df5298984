//! Two operators at once, and tasks that only a release changes.

use millrace_common::scheduler::schedules::Declared;
use millrace_common::scheduler::{TaskForm, TaskId};
use serde_json::{Value, json};

use super::harness::Mill;
use crate::harness::answer;

fn every(interval_ms: i64) -> Value {
    json!({ "schedule": { "kind": "every", "interval_ms": interval_ms } })
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_edits_of_one_version_the_second_is_told_which_one_there_is() {
    let mill = Mill::start().await;
    assert_eq!(mill.send("PUT", "/schedules/t", &every(60_000)).await.0, 201);
    let edit = |interval_ms| {
        answer(mill.request("PUT", "/schedules/t?expected_version=1").json(&every(interval_ms)))
    };
    let (one, other) = tokio::join!(edit(61_000), edit(62_000));
    let (won, lost) = if one.0 == 200 { (one, other) } else { (other, one) };
    assert_eq!((won.0, &won.1["data"]["version"]), (200, &json!(2)), "{won:?}");
    assert_eq!((lost.0, &lost.1["code"]), (409, &json!("schedule.version_conflict")), "{lost:?}");
    assert_eq!(lost.1["data"], json!({ "expected_version": 1, "version": 2 }));
    let (_, stands) = mill.ask("GET", "/schedules/t").await;
    assert_eq!(stands, won.1["data"]);

    for (method, path, body) in [
        ("PUT", "/schedules/t", every(60_000)),
        ("PUT", "/schedules/t?expected_version=0", every(60_000)),
        ("DELETE", "/schedules/t?expected_version=1", Value::Null),
        ("POST", "/schedules/t/pause?expected_version=1", json!({ "note": "n" })),
        ("POST", "/schedules/t/resume?expected_version=3", Value::Null),
        ("PUT", "/schedules/never-was?expected_version=1", every(60_000)),
    ] {
        let (status, code, _) = mill.refusal(method, path, Some(&body)).await;
        assert_eq!((status, code.as_str()), (409, "schedule.version_conflict"), "{method} {path}");
    }
    assert_eq!(mill.ask("GET", "/schedules/t").await.1, stands, "nothing was changed");
    assert_eq!(mill.told().await.len(), 2, "made and edited");
    mill.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_release_declares_may_be_paused_and_triggered_and_nothing_else() {
    let mill = Mill::start().await;
    let id = TaskId::parse("upkeep").unwrap();
    let declared = Declared { id, form: TaskForm::cron("@daily", "UTC") };
    mill.schedules.declare(&[declared]).await.unwrap();
    for (method, body) in [("PUT", every(60_000)), ("DELETE", Value::Null)] {
        let path = "/schedules/upkeep?expected_version=1";
        let (status, code, _) = mill.refusal(method, path, Some(&body)).await;
        assert_eq!((status, code.as_str()), (409, "schedule.declared_in_code"), "{method}");
    }
    assert_eq!(mill.ask("POST", "/schedules/upkeep/trigger").await.0, 202);
    let note = json!({ "note": "while the disk is full" });
    let (status, paused) = mill.send("POST", "/schedules/upkeep/pause", &note).await;
    assert_eq!((status, &paused["origin"]), (200, &json!("code")), "{paused}");
    mill.finish().await;
}
