//! Time is handed on, cut down, and its end names the hop.

use std::time::{Duration, Instant};

use millrace_testkit::wait_until;
use reqwest::Method;

use crate::harness::{PATIENCE, ROUTES, send, spawn, spawn_with};
use crate::upstream::Answer;

const HEADER: &str = "x-millrace-deadline-ms";

#[tokio::test(flavor = "multi_thread")]
async fn the_upstream_gets_what_is_left_of_the_shorter_of_wish_and_route() {
    let gateway = spawn_with(&[("routes:", ROUTES)]).await;
    for (wish, at_most, at_least) in [
        (None, 990, 500),
        (Some("300"), 290, 100),
        (Some("60000"), 990, 500),
        (Some("nonsense"), 990, 500),
    ] {
        // On a busy machine nothing may be left.
        wait_until("what is left", PATIENCE, || async {
            let mut request = gateway.request(Method::GET, "/api/v1/orders");
            if let Some(wish) = wish {
                request = request.header(HEADER, wish);
            }
            let status = send(request).await.status;
            if status != 200 {
                return Err((status, 0));
            }
            let given: u64 = gateway.upstream.last().header(HEADER).unwrap().parse().unwrap();
            assert!(given <= at_most, "{wish:?} became {given}");
            if given >= at_least { Ok(()) } else { Err((status, given)) }
        })
        .await;
    }
    gateway.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_upstream_answers_504_that_names_it() {
    let gateway = spawn().await;
    gateway.upstream.answers(Answer::Held);
    // The service's own deadline is five milliseconds later and doesn't know the hop; on a busy machine it may be first.
    wait_until("an answer that names the upstream", PATIENCE, || async {
        let started = Instant::now();
        let request = gateway.request(Method::GET, "/api/v1/orders").header(HEADER, "150");
        let reply = send(request).await;
        assert_eq!(reply.status, 504);
        let in_time = started.elapsed() < Duration::from_secs(2);
        let told = (reply.code().to_owned(), reply.body["data"]["hop"].to_string());
        let names_it = told.0 == "gateway.upstream_timeout" && told.1 == "\"order\"";
        if in_time && names_it { Ok(()) } else { Err((in_time, told)) }
    })
    .await;
    gateway.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_can_not_end_in_time_is_not_begun() {
    let gateway = spawn().await;
    let reply = send(gateway.request(Method::GET, "/api/v1/orders").header(HEADER, "5")).await;
    assert_eq!((reply.status, reply.body["data"]["hop"].as_str()), (504, Some("gateway")));
    let reply = send(gateway.request(Method::GET, "/api/v1/orders").header(HEADER, "0")).await;
    assert_eq!((reply.status, reply.body["data"]["hop"].as_str()), (504, Some("gateway")));
    assert!(gateway.upstream.seen().is_empty());
    gateway.finish().await;
}
