//! A stop finishes what is under way.

use millrace_testkit::tokens::admin_token;
use millrace_testkit::wait_until;
use reqwest::Method;

use crate::harness::{PATIENCE, spawn};
use crate::upstream::Answer;

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_lets_a_request_in_flight_end_and_takes_no_new_one() {
    let gateway = spawn().await;
    gateway.upstream.answers(Answer::Held);
    let (send, answered) = tokio::sync::oneshot::channel();
    let request =
        gateway.anonymous(Method::GET, "/api/v1/audit/records").bearer_auth(admin_token());
    gateway.tasks.spawn("request in flight", async move {
        drop(send.send(request.send().await));
    });
    wait_until("the upstream was asked", PATIENCE, || async {
        !gateway.upstream.seen().is_empty()
    })
    .await;

    let url = gateway.url("/readyz");
    let (upstream, application) = (gateway.upstream, gateway.application);
    let watch = async {
        let client = reqwest::Client::new();
        wait_until("new connections are refused", PATIENCE, || async {
            client.get(&url).send().await.is_err()
        })
        .await;
        upstream.release();
    };
    let (finished, ()) = tokio::join!(application.stop(), watch);
    assert!(finished);
    assert_eq!(answered.await.unwrap().unwrap().status(), 200);
}
