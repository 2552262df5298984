//! What is refused, and by which field.

use crate::harness::{spawn_app, spawn_app_with};

#[tokio::test(flavor = "multi_thread")]
async fn every_wrong_parameter_is_named() {
    let app = spawn_app().await;
    let long = "x".repeat(200);
    let cases = [
        ("actor=ann".to_owned(), "actor"),
        ("service=".to_owned(), "service"),
        ("service=a%00b".to_owned(), "service"),
        ("service=%ff".to_owned(), "service"),
        (format!("service={long}"), "service"),
        ("service=a&service=b".to_owned(), "service"),
        ("level=info".to_owned(), "level"),
        ("level=LOUD".to_owned(), "level"),
        ("status=".to_owned(), "status"),
        ("status=6xx".to_owned(), "status"),
        ("status=99".to_owned(), "status"),
        ("status=40x".to_owned(), "status"),
        ("trace_id=0af7".to_owned(), "trace_id"),
        ("from=yesterday".to_owned(), "from"),
        ("to=-1".to_owned(), "to"),
        ("from=2&to=1".to_owned(), "to"),
        ("limit=0".to_owned(), "limit"),
        ("limit=1001".to_owned(), "limit"),
    ];
    for (query, field) in &cases {
        let answer = app.search(query).await;
        assert_eq!(answer.status, 400, "{query}: {}", answer.body);
        assert_eq!(answer.code(), "http.invalid_request", "{query}: {}", answer.body);
        assert_eq!(answer.fields(), [*field], "{query}: {}", answer.body);
    }
    app.finish(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_database_a_search_answers_503_and_when_to_come_back() {
    // Port 1 refuses at once.
    let app =
        spawn_app_with(&[("DATABASE__PORT", "1"), ("DATABASE__ACQUIRE_TIMEOUT", "50ms")]).await;
    let answer = app.search("service=order").await;
    assert_eq!((answer.status.as_u16(), answer.code()), (503, "store.unavailable"));
    assert_eq!(answer.retry_after.as_deref(), Some("1"));
    app.finish(0).await;
}
