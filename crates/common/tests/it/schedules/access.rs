//! Nobody but an administrator sees or changes anything.

use millrace_testkit::tokens;
use serde_json::json;

use super::harness::Mill;
use crate::harness::answer;

const ROUTES: [(&str, &str); 12] = [
    ("GET", "/schedules"),
    ("GET", "/schedules/t"),
    ("PUT", "/schedules/t"),
    ("DELETE", "/schedules/t?expected_version=1"),
    ("POST", "/schedules/t/pause"),
    ("POST", "/schedules/t/resume"),
    ("POST", "/schedules/t/trigger"),
    ("POST", "/schedules/t/backfill"),
    ("GET", "/schedules/t/next"),
    ("GET", "/schedules/t/history"),
    ("POST", "/schedules/dry-run"),
    ("GET", "/schedules/nowhere/at/all"),
];

#[tokio::test(flavor = "multi_thread")]
async fn every_route_refuses_whoever_is_no_administrator() {
    let mill = Mill::start().await;
    let customer = tokens::customer_token("ann");
    let body = json!({ "schedule": { "kind": "every", "interval_ms": 60_000 } });
    for (method, path) in ROUTES {
        let (status, reply) = answer(mill.anonymous(method, path).json(&body)).await;
        assert_eq!(
            (status, &reply["code"]),
            (401, &json!("auth.missing_token")),
            "{method} {path}"
        );
        let request = mill.anonymous(method, path).json(&body).bearer_auth(&customer);
        let (status, reply) = answer(request).await;
        assert_eq!((status, &reply["code"]), (403, &json!("auth.forbidden")), "{method} {path}");
    }
    assert_eq!(mill.ask("GET", "/schedules").await.1["tasks"], json!([]));
    assert!(mill.told().await.is_empty());
    mill.finish().await;
}
