//! `/actuator/consumers` on a real consumer.

use millrace_testkit::wait_until;
use serde_json::{Value, json};

use crate::harness::{Depot, SOON, answer};

#[tokio::test(flavor = "multi_thread")]
async fn the_list_names_each_consumer_with_its_knobs_and_its_health() {
    let depot = Depot::start("depot.list").await;
    let consumer = depot.consumer().await;
    assert_eq!(consumer["group"], "depot.list");
    assert_eq!(consumer["topic"], "parcels");
    assert_eq!((&consumer["concurrency"], &consumer["paused"]), (&json!(1), &json!(false)));
    assert_eq!(consumer["health"]["status"], "UP");
    let details = consumer["health"]["details"].as_object().unwrap();
    for figure in ["lag", "partitionCount", "lastPollMs", "deadLettered", "leftOut"] {
        assert!(details.contains_key(figure), "{figure} is missing in {consumer}");
    }
    depot.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_raised_concurrency_opens_more_calls_at_once_and_costs_no_rebalance() {
    let depot = Depot::start("depot.raise").await;
    let before = depot.rebalances().await;
    depot.send(&["a", "b", "c", "d"]).await;
    wait_until("one call", SOON, || async { depot.open() == 1 }).await;
    wait_until("all are known", SOON, || async {
        depot.consumer().await["health"]["details"]["lag"] == 4
    })
    .await;
    assert_eq!(depot.open(), 1);
    assert_eq!(depot.change(json!({ "concurrency": 4 })).await["concurrency"], 4);
    wait_until("four calls", SOON, || async { depot.open() == 4 }).await;
    depot.permit(4);
    wait_until("all done", SOON, || async { depot.done() == 4 }).await;
    assert_eq!(depot.consumer().await["concurrency"], 4);
    assert_eq!(depot.rebalances().await, before);
    assert_eq!(depot.changes_logged(), 1);
    depot.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_consumer_takes_nothing_until_it_is_resumed() {
    let depot = Depot::start("depot.pause").await;
    assert_eq!(depot.change(json!({ "paused": true })).await["paused"], true);
    depot.permit(2);
    depot.send(&["a", "b"]).await;
    wait_until("the backlog shows", SOON, || async {
        depot.consumer().await["health"]["details"]["lag"] == 2
    })
    .await;
    assert_eq!((depot.open(), depot.done()), (0, 0));
    let paused = depot.consumer().await;
    assert_eq!((&paused["paused"], &paused["concurrency"]), (&json!(true), &json!(1)));
    assert_eq!(paused["health"]["status"], "UP", "{paused}");
    let resumed = depot.change(json!({ "paused": false, "concurrency": 2 })).await;
    assert_eq!((&resumed["paused"], &resumed["concurrency"]), (&json!(false), &json!(2)));
    wait_until("all done", SOON, || async { depot.done() == 2 }).await;
    depot.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_makes_no_sense_is_refused_and_changes_nothing() {
    let depot = Depot::start("depot.refuse").await;
    let path = depot.path();
    for (body, field) in [
        (json!({ "concurrency": 0 }), Some("concurrency")),
        (json!({ "concurrency": 10_001, "paused": true }), Some("concurrency")),
        (json!({ "concurrency": -1 }), Some("concurrency")),
        (json!({ "concurrency": "4" }), Some("concurrency")),
        (json!({ "paused": 1 }), Some("paused")),
        (json!({ "concurrency": 2, "pause": true }), Some("pause")),
        (json!({}), None),
    ] {
        let (status, reply) = answer(depot.request("PUT", &path).json(&body)).await;
        assert_eq!((status, &reply["code"]), (400, &json!("http.invalid_request")), "{body}");
        assert_eq!(reply["data"]["fields"][0]["field"].as_str(), field, "{body}: {reply}");
    }
    let broken = depot.request("PUT", &path).header("content-type", "application/json");
    assert_eq!(answer(broken.body("{")).await.1["code"], "http.malformed_json");
    let untyped = depot.request("PUT", &path).body(r#"{"paused":true}"#);
    assert_eq!(answer(untyped).await.1["code"], "http.unsupported_media_type");
    let large = format!(r#"{{"paused":{}true}}"#, " ".repeat(512 * 1024));
    let large = depot.request("PUT", &path).header("content-type", "application/json").body(large);
    assert_eq!(answer(large).await.1["code"], "http.body_too_large");
    let other = depot.request("PUT", "/actuator/consumers/depot.other");
    let (status, reply) = answer(other.json(&json!({ "paused": true }))).await;
    assert_eq!((status, &reply["code"]), (404, &json!("consumers.unknown_group")));
    assert_eq!(reply["data"], Value::Null);
    let problem = depot.request("PUT", "/actuator/consumers/depot.other");
    let problem = problem.header("accept", "application/problem+json");
    let (_, reply) = answer(problem.json(&json!({ "paused": true }))).await;
    assert_eq!(reply["type"], "urn:millrace:error:consumers.unknown_group");
    for (method, path) in [("POST", path.as_str()), ("DELETE", "/actuator/consumers")] {
        let (status, reply) = answer(depot.request(method, path)).await;
        assert_eq!((status, &reply["code"]), (405, &json!("http.method_not_allowed")), "{method}");
    }
    let consumer = depot.consumer().await;
    assert_eq!((&consumer["concurrency"], &consumer["paused"]), (&json!(1), &json!(false)));
    assert_eq!(depot.changes_logged(), 0);
    depot.finish().await;
}
