//! What the service's own failures look like, outside and in the log.

use std::time::Duration;

use reqwest::header::RETRY_AFTER;

use crate::harness::{App, answer, lines_of, new_trace, slow_is_handled};

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_is_a_500_with_its_trace_and_nothing_of_the_house() {
    let app = App::start();
    let (traceparent, trace_id) = new_trace();
    let (status, reply) = answer(app.get("/panics").header("traceparent", traceparent)).await;
    assert_eq!((status, reply["code"].as_str()), (500, Some("http.internal")));
    assert_eq!(reply["data"]["trace_id"], trace_id);
    let text = reply.to_string();
    assert!(!text.contains("secret") && !text.contains(".rs"), "{text}");
    let errors: Vec<_> =
        lines_of(&trace_id).into_iter().filter(|line| line["level"] == "ERROR").collect();
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(errors[0].to_string().contains("secret of the house"));
    // The worker that caught it goes on.
    assert_eq!(answer(app.get("/baskets")).await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_is_logged_once_with_its_chain_and_tells_the_caller_no_cause() {
    let app = App::start();
    let (traceparent, trace_id) = new_trace();
    let (status, reply) = answer(app.get("/fails").header("traceparent", traceparent)).await;
    assert_eq!((status, &reply["data"]["trace_id"]), (500, &trace_id.clone().into()));
    assert!(!reply.to_string().contains("select"), "{reply}");
    let errors: Vec<_> =
        lines_of(&trace_id).into_iter().filter(|line| line["level"] == "ERROR").collect();
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert_eq!(errors[0]["fields"]["error"], "the service failed: select * from secrets");
    assert_eq!(errors[0]["fields"]["error.code"], "http.internal");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_is_a_503_that_says_when_to_come_back() {
    let app = App::start();
    let (traceparent, trace_id) = new_trace();
    let response = app.get("/away").header("traceparent", traceparent).send().await.unwrap();
    assert_eq!(response.status().as_u16(), 503);
    assert_eq!(response.headers()[RETRY_AFTER], "2");
    assert!(lines_of(&trace_id).iter().all(|line| line["level"] != "ERROR"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_passed_deadline_is_a_504_that_names_the_hop() {
    let app = App::start();
    let asked = |path: &str, millis: &str| app.get(path).header("x-millrace-deadline-ms", millis);
    for (path, millis) in [("/slow/4000", "50"), ("/slow/0", "0")] {
        let (status, reply) = answer(asked(path, millis)).await;
        assert_eq!((status, reply["code"].as_str()), (504, Some("http.timeout")), "{path}");
        assert_eq!(reply["data"]["hop"], "http-test", "{path}");
    }
    let (_, reply) = answer(asked("/deadline", "800")).await;
    let left = reply["data"].as_u64().unwrap();
    assert!((1..=800).contains(&left), "{left}");
    let (_, reply) = answer(asked("/deadline", "nonsense")).await;
    assert!(reply["data"].as_u64().unwrap() > 800);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_services_own_deadline_holds_for_a_caller_who_asks_for_more() {
    let app = App::with(|settings| settings.deadline = Duration::from_millis(50));
    let slow = app.get("/slow/4000").header("x-millrace-deadline-ms", "60000");
    assert_eq!(answer(slow).await.0, 504);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_handler_starts_runs_on_the_services_runtime() {
    let app = App::start();
    let (status, reply) = answer(app.get("/task")).await;
    assert_eq!(status, 200, "{reply}");
    let thread = reply["data"].as_str().unwrap_or_default();
    assert!(!thread.starts_with("actix"), "{thread}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_who_goes_away_is_recorded_as_499() {
    let app = App::start();
    let impatient = app.get("/slow/3000").send();
    tokio::select! {
        answered = impatient => panic!("it did not wait: {answered:?}"),
        () = slow_is_handled(3000) => {}
    }
    millrace_testkit::wait_until(
        "the record of the abandoned request",
        Duration::from_secs(5),
        || async {
            app.records
                .all()
                .iter()
                .any(|record| record.status == 499 && record.route == "/slow/{millis}")
        },
    )
    .await;
}
