//! Every bad input is a 4xx in the reply form that names the field, and never an ERROR line.

use reqwest::header::{ACCEPT, CONTENT_ENCODING, CONTENT_TYPE};
use serde_json::json;

use crate::harness::{App, answer, body, lines_of, new_trace};

const JSON: &str = "application/json";

/// One bad body and what it must be answered with.
struct Bad {
    name: &'static str,
    content_type: &'static str,
    body: Vec<u8>,
    code: (u16, &'static str),
    field: &'static str,
}

const MALFORMED: (u16, &str) = (400, "http.malformed_json");
const INVALID: (u16, &str) = (400, "http.invalid_request");
const TOO_LARGE: (u16, &str) = (413, "http.body_too_large");
const MEDIA_TYPE: (u16, &str) = (415, "http.unsupported_media_type");

fn bad(
    name: &'static str,
    body: impl AsRef<[u8]>,
    code: (u16, &'static str),
    field: &'static str,
) -> Bad {
    Bad { name, content_type: JSON, body: body.as_ref().to_vec(), code, field }
}

fn line(fields: &str) -> String {
    format!("{{\"lines\":[{{\"sku\":\"a\",{fields}}}]}}")
}

fn bad_bodies() -> Vec<Bad> {
    let long_owner = format!("{{\"lines\":[],\"owner\":\"{}\"}}", "x".repeat(20_000));
    vec![
        bad("empty", "", MALFORMED, ""),
        bad("cut off", "{\"lines\":[", MALFORMED, ""),
        bad("no UTF-8", b"{\"owner\":\"\xff\",\"lines\":[]}", MALFORMED, ""),
        bad("trailing", "{\"lines\":[]}{}", MALFORMED, ""),
        bad("missing field", "{}", INVALID, "lines"),
        bad("unknown field", "{\"lines\":[],\"x\":1}", INVALID, "x"),
        bad("wrong type", "{\"lines\":7}", INVALID, "lines"),
        bad("negative", line("\"quantity\":-1"), INVALID, "lines[0].quantity"),
        bad("huge", line("\"quantity\":99999999999999999999"), INVALID, "lines[0].quantity"),
        bad("text for a number", line("\"quantity\":\"1\""), INVALID, "lines[0].quantity"),
        bad("too large", long_owner, TOO_LARGE, ""),
        bad("ten megabytes", vec![b' '; 10 * 1024 * 1024], TOO_LARGE, ""),
        Bad {
            content_type: "text/plain",
            ..bad("no JSON type", "{\"lines\":[]}", MEDIA_TYPE, "content-type")
        },
        Bad {
            content_type: "application/json; charset=latin1",
            ..bad("latin 1", "{}", MEDIA_TYPE, "content-type")
        },
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn every_bad_body_is_refused_by_name() {
    let app = App::start();
    for Bad { name, content_type, body, code, field } in bad_bodies() {
        let (traceparent, trace_id) = new_trace();
        let request = app.post("/baskets").header(CONTENT_TYPE, content_type);
        let (status, reply) = answer(request.header("traceparent", traceparent).body(body)).await;
        assert_eq!((status, reply["code"].as_str()), (code.0, Some(code.1)), "{name}: {reply}");
        assert!(reply["message"].is_string(), "{name}: {reply}");
        if !field.is_empty() {
            assert_eq!(reply["data"]["fields"][0]["field"], field, "{name}: {reply}");
            assert!(reply["data"]["fields"][0]["problem"].is_string(), "{name}: {reply}");
        }
        let levels: Vec<_> = lines_of(&trace_id).iter().map(|line| line["level"].clone()).collect();
        assert!(
            !levels.is_empty() && levels.iter().all(|level| level == "INFO"),
            "{name}: {levels:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_without_a_type_or_with_an_encoding_is_refused() {
    let app = App::start();
    let (status, reply) = answer(app.post("/baskets").body("{\"lines\":[]}")).await;
    assert_eq!((status, reply["code"].as_str()), (415, Some("http.unsupported_media_type")));
    let zipped =
        app.post("/baskets").header(CONTENT_TYPE, JSON).header(CONTENT_ENCODING, "gzip").body("x");
    assert_eq!(answer(zipped).await.0, 415);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_doesnt_say_its_length_is_bounded_too() {
    let app = App::start();
    let chunks = futures::stream::iter((0..100).map(|_| Ok::<_, std::io::Error>(vec![b'x'; 1024])));
    let (status, reply) = answer(app.post("/raw").body(reqwest::Body::wrap_stream(chunks))).await;
    assert_eq!((status, reply["code"].as_str()), (413, Some("http.body_too_large")));
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_paths_queries_methods_and_headers_are_refused() {
    let app = App::start();
    let table = [
        ("GET", "/nowhere", 404, "http.not_found", ""),
        ("GET", "/guarded/nowhere", 401, "auth.missing_token", ""),
        ("DELETE", "/baskets", 405, "http.method_not_allowed", ""),
        ("GET", "/baskets/seven", 400, "http.invalid_request", "id"),
        ("GET", "/baskets/%ff", 400, "http.invalid_request", "id"),
        ("GET", "/baskets?limit=many", 400, "http.invalid_request", "limit"),
        ("GET", "/baskets?limit=%ff", 400, "http.invalid_request", "limit"),
        ("GET", "/baskets?limt=1", 400, "http.invalid_request", "limt"),
    ];
    for (method, path, status, code, field) in table {
        let (got, reply) = answer(app.request(method, path)).await;
        assert_eq!((got, reply["code"].as_str()), (status, Some(code)), "{method} {path}: {reply}");
        if !field.is_empty() {
            assert_eq!(reply["data"]["fields"][0]["field"], field, "{method} {path}: {reply}");
        }
    }
    let (status, reply) = answer(app.get("/baskets").header("x-long", "x".repeat(5000))).await;
    assert_eq!((status, reply["code"].as_str()), (431, Some("http.headers_too_large")));
    let response = app.request("DELETE", "/baskets").send().await.unwrap();
    let allow = response.headers().get("allow").map(|value| value.to_str().unwrap().to_owned());
    assert!(allow.is_some_and(|methods| methods.contains("GET") && methods.contains("POST")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_problem_document_is_given_to_whoever_asks_for_it() {
    let app = App::start();
    for (path, status, code) in [
        ("/nowhere", 404, "http.not_found"),
        ("/me", 401, "auth.missing_token"),
        ("/baskets/seven", 400, "http.invalid_request"),
        ("/fails", 500, "http.internal"),
        ("/panics", 500, "http.internal"),
    ] {
        let response =
            app.get(path).header(ACCEPT, "application/problem+json").send().await.unwrap();
        assert_eq!(response.status().as_u16(), status, "{path}");
        assert_eq!(response.headers()[CONTENT_TYPE], "application/problem+json", "{path}");
        let problem = body(response).await;
        assert_eq!(problem["status"], status, "{path}: {problem}");
        assert_eq!(problem["code"], code, "{path}: {problem}");
        assert_eq!(problem["type"], format!("urn:millrace:error:{code}"), "{path}: {problem}");
        assert!(problem["title"].is_string() && problem["detail"].is_string(), "{path}: {problem}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn good_input_gets_the_reply_form_and_a_stored_reply_comes_back_as_it_was() {
    let app = App::start();
    let good = json!({ "owner": null, "lines": [{ "sku": "a", "quantity": 2 }] });
    let (status, reply) = answer(app.post("/baskets").json(&good)).await;
    assert_eq!((status, &reply["code"], &reply["data"]), (201, &json!("ok"), &good));
    assert_eq!(
        answer(app.get("/baskets?limit=5")).await,
        (200, json!({"code":"ok","message":"ok","data":5}))
    );
    let replayed = app.get("/replayed").send().await.unwrap();
    assert_eq!(replayed.status(), 202);
    assert_eq!(
        replayed.text().await.unwrap(),
        r#"{"code":"ok","message":"accepted","data":{"id":7}}"#
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_description_is_served_with_a_page_to_browse_it() {
    let app = App::start();
    let (status, document) = answer(app.get("/openapi.json")).await;
    assert_eq!((status, document["info"]["title"].as_str()), (200, Some("test")));
    let page = app.get("/docs").send().await.unwrap();
    assert_eq!(page.status(), 200);
    assert!(page.text().await.unwrap().contains("swagger-ui"));
}
