//! The service's scheduled tasks as operators meet them: declared, shown, and to be changed by a release only.

use millrace_testkit::tokens;
use millrace_testkit::wait_until;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::harness::{PATIENCE, TestApp, spawn_app};

async fn tasks(app: &TestApp) -> Vec<String> {
    let request = app.anonymous(Method::GET, "/schedules").bearer_auth(tokens::admin_token());
    let answer = app.send(request).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    let tasks = answer.body["data"]["tasks"].as_array().unwrap();
    tasks.iter().map(|task| task["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tasks_of_the_release_are_declared_and_only_administrators_see_them() {
    let app = spawn_app().await;
    wait_until("the tasks are declared", PATIENCE, || async {
        let found = tasks(&app).await;
        if found == ["expire-stale-placed", "expire-unpaid", "upkeep"] {
            Ok(())
        } else {
            Err(found)
        }
    })
    .await;
    assert_eq!(app.get("/schedules", "ann").await.status, StatusCode::FORBIDDEN);
    let anonymous = app.send(app.anonymous(Method::GET, "/schedules")).await;
    assert_eq!(anonymous.status, StatusCode::UNAUTHORIZED);
    app.finish(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_task_is_audited_and_the_health_page_tells_of_the_dispatcher() {
    let app = spawn_app().await;
    app.run_task("expire-unpaid").await;
    let pause = app
        .anonymous(Method::POST, "/schedules/expire-unpaid/pause")
        .bearer_auth(tokens::admin_token())
        .json(&json!({ "note": "the provider is down" }));
    let paused = app.send(pause).await;
    assert_eq!(paused.status, StatusCode::OK, "{}", paused.text);
    let key = "task/order/expire-unpaid";
    let actions: Vec<String> = wait_until("the audit record", PATIENCE, || async {
        let records = app.envelopes(millrace_contracts::Topic::AuditTopic, key).await;
        let action = |record: &Value| record["payload"]["action"].as_str().unwrap().to_owned();
        let actions: Vec<String> = records.iter().map(action).collect();
        (actions.last().map(String::as_str) == Some("task.paused")).then_some(actions)
    })
    .await;
    assert_eq!(actions[0], "task.made", "by the release: {actions:?}");
    let port = app.application.admin_port();
    let health = reqwest::get(format!("http://127.0.0.1:{port}/actuator/health")).await.unwrap();
    let health: Value = health.json().await.unwrap();
    let scheduler = &health["components"]["scheduler"];
    assert_eq!(scheduler["status"], "UP", "{health}");
    assert_eq!(scheduler["details"]["role"], "leading", "{health}");
    app.finish(0).await;
}
