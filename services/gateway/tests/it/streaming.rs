//! Answers pass piece by piece.

use actix_web::web::Bytes;
use futures::StreamExt;
use reqwest::Method;

use crate::harness::spawn;
use crate::upstream::Answer;

#[tokio::test(flavor = "multi_thread")]
async fn the_first_piece_arrives_while_the_upstream_still_works_on_the_last() {
    let gateway = spawn().await;
    let pieces = vec![Bytes::from_static(b"first "), Bytes::from_static(b"last")];
    gateway.upstream.answers(Answer::HeldPieces(pieces));
    let answer = gateway.request(Method::GET, "/api/v1/orders").send().await.unwrap();
    let mut body = answer.bytes_stream();
    assert_eq!(body.next().await.unwrap().unwrap(), "first ");
    gateway.upstream.release();
    assert_eq!(body.next().await.unwrap().unwrap(), "last");
    assert!(body.next().await.is_none());
    gateway.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_answer_arrives_whole() {
    let gateway = spawn().await;
    let piece = Bytes::from(vec![7_u8; 256 * 1024]);
    gateway.upstream.answers(Answer::Pieces(vec![piece; 128]));
    let answer = gateway.request(Method::GET, "/api/v1/orders").send().await.unwrap();
    assert_eq!(answer.bytes().await.unwrap().len(), 32 * 1024 * 1024);
    gateway.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_breaks_off_breaks_off_for_the_client_too() {
    let gateway = spawn().await;
    gateway.upstream.answers(Answer::Broken(vec![Bytes::from_static(b"half of it")]));
    let answer = gateway.request(Method::GET, "/api/v1/orders").send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let mut body = answer.bytes_stream();
    assert_eq!(body.next().await.unwrap().unwrap(), "half of it");
    gateway.upstream.release();
    assert!(body.next().await.unwrap().is_err(), "half an answer must not look whole");
    assert!(gateway.metrics().await.contains("gateway_upstream_answers_broken_total{"));
    gateway.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_pauses_too_long_is_cut_off() {
    let gateway = crate::harness::spawn_with(&[("UPSTREAMS__BODY_IDLE_TIMEOUT", "200ms")]).await;
    let pieces = vec![Bytes::from_static(b"first "), Bytes::from_static(b"last")];
    gateway.upstream.answers(Answer::HeldPieces(pieces));
    let answer = gateway.request(Method::GET, "/api/v1/orders").send().await.unwrap();
    assert!(answer.bytes().await.is_err());
    gateway.finish().await;
}
