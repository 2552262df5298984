//! A stop loses no request that was taken, and takes requests until the listener is closed.

use std::time::Duration;

use millrace_runtime::Tasks;
use millrace_testkit::wait_until;

use crate::harness::{App, answer, slow_is_handled};

const LONG: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_accepts_then_closes_then_finishes_what_is_in_flight() {
    let app = App::start();
    let slow = app.get("/slow/3500");
    let in_flight = Tasks::new();
    let (sent, answered) = tokio::sync::oneshot::channel();
    in_flight.spawn("slow request", async move {
        drop(sent.send(slow.send().await.map(|it| it.status())))
    });
    slow_is_handled(3500).await;

    app.shutdown.request();
    let drain = app.server.drain(Duration::from_secs(2), LONG);
    let watch = async {
        // In the drain delay: not ready, and still open to new connections.
        let (status, reply) = answer(app.get("/readyz")).await;
        assert_eq!(status, 503);
        assert!(reply["message"].as_str().unwrap().contains("stopping"), "{reply}");
        let fresh = reqwest::Client::new().get(app.url("/baskets")).send().await.unwrap();
        assert_eq!(fresh.status(), 200);
        wait_until("the listener is closed", LONG, || async {
            reqwest::Client::new().get(app.url("/baskets")).send().await.is_err()
        })
        .await;
        // The admin port goes on for the rest of the stop.
        assert_eq!(answer(app.admin("/livez")).await.0, 200);
    };
    let (finished, ()) = tokio::join!(drain, watch);
    assert!(finished);
    assert_eq!(answered.await.unwrap().unwrap(), 200);
    assert_eq!(answer(app.admin("/livez")).await.0, 200);
    let admin = app.admin("/livez");
    app.server.close().await;
    assert!(admin.send().await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn while_stopping_each_answer_sends_the_caller_to_another_connection() {
    let app = App::start();
    let before = app.get("/baskets").send().await.unwrap();
    assert_eq!(before.headers().get("connection"), None);
    app.shutdown.request();
    let found = app.get("/baskets").send().await.unwrap();
    let missing = app.get("/no-such-path").send().await.unwrap();
    assert_eq!((found.status().as_u16(), missing.status().as_u16()), (200, 404));
    for answered in [found, missing] {
        assert_eq!(answered.headers()["connection"], "close");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_ends_within_its_budget_when_a_request_doesnt() {
    let app = App::start();
    let stuck = app.get("/slow/4500");
    let in_flight = Tasks::new();
    in_flight.spawn("stuck request", async move { drop(stuck.send().await) });
    slow_is_handled(4500).await;
    let started = std::time::Instant::now();
    assert!(!app.server.drain(Duration::ZERO, Duration::from_millis(200)).await);
    assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_keep_alive_connection_doesnt_hold_the_stop_up() {
    let app = App::with(|settings| settings.keep_alive = Duration::from_secs(60));
    assert_eq!(answer(app.get("/baskets")).await.0, 200);
    let started = std::time::Instant::now();
    assert!(app.server.drain(Duration::ZERO, LONG).await);
    assert!(started.elapsed() < LONG, "{:?}", started.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_is_named() {
    let app = App::start();
    let port = app.server.port();
    let taken = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        App::with(|settings| settings.port = port)
    }));
    let text = taken.err().and_then(|it| it.downcast_ref::<String>().cloned()).unwrap_or_default();
    assert!(text.contains(&port.to_string()), "{text}");
}
