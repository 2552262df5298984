//! `/actuator/leases` of a service that has leases, and of one that has none.

use std::time::Duration;

use millrace_common::coordination::{self, RedisSettings};
use millrace_common::http::{HTTP_DEFAULTS, HttpSettings};
use millrace_common::runtime::Tasks;
use millrace_common::runtime::settings::{Problems, Validate};
use millrace_common::telemetry::{self, TelemetrySettings};
use millrace_common::{
    BaseSettings, Chassis, SHUTDOWN_DEFAULTS, ServiceSettings, ShutdownSettings, load_settings,
};
use millrace_testkit::Stack;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::harness::{Depot, answer};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    http: HttpSettings,
    telemetry: TelemetrySettings,
    shutdown: ShutdownSettings,
    redis: RedisSettings,
}

impl ServiceSettings for Settings {
    const SERVICE: &'static str = "office";
    const ENV_PREFIX: &'static str = "OFFICE";
    const DEFAULTS: &'static [&'static str] =
        &[HTTP_DEFAULTS, telemetry::DEFAULTS, SHUTDOWN_DEFAULTS, coordination::DEFAULTS];

    fn base(&self) -> BaseSettings<'_> {
        BaseSettings { http: &self.http, telemetry: &self.telemetry, shutdown: &self.shutdown }
    }
}

impl Validate for Settings {
    fn validate(&self, problems: &mut Problems) {
        self.http.validate(problems);
        self.redis.validate(problems);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_services_leases_are_shown_with_holder_token_and_sink() {
    let stack = Stack::shared().await;
    let database = stack.database("office", &[&coordination::MIGRATIONS]).await;
    let environment = [
        ("HTTP__BIND", "127.0.0.1".to_owned()),
        ("HTTP__PORT", "0".to_owned()),
        ("HTTP__ADMIN_PORT", "0".to_owned()),
        ("SHUTDOWN__DRAIN_DELAY", "0s".to_owned()),
        ("REDIS__HOST", "127.0.0.1".to_owned()),
        ("REDIS__PORT", stack.addresses().redis_port.to_string()),
        ("REDIS__KEY_PREFIX", stack.namespace().redis_prefix),
        ("REDIS__OPERATION_TIMEOUT", "10s".to_owned()),
    ];
    let environment = environment.map(|(key, value)| (format!("OFFICE__{key}"), value)).into();
    let settings: Settings = load_settings(None, environment).unwrap();
    let mut chassis = Chassis::new(&settings);
    let redis = chassis.redis(&settings.redis).unwrap();
    let pool = database.app_pool();
    let leases = chassis.leases(&redis, &pool);
    let application = chassis.serve(|_| {}).await.unwrap();

    let lease = leases.acquire("sweep", Duration::from_secs(30)).await.unwrap().unwrap();
    let guard = lease.keep(&Tasks::new(), None);
    let fenced = guard.run(async |fenced| fenced).await.unwrap();
    fenced.begin(&pool).await.unwrap().commit().await.unwrap();

    let url = format!("http://127.0.0.1:{}/actuator/leases", application.admin_port());
    let (status, reply) = answer(reqwest::Client::new().get(&url)).await;
    assert_eq!(status, 200, "{reply}");
    let list = &reply["data"];
    assert_eq!((&list["redis"], &list["database"]), (&json!(true), &json!(true)));
    let [sweep] = list["leases"].as_array().unwrap().as_slice() else { panic!("{list}") };
    let token = guard.token().as_i64();
    assert_eq!((&sweep["name"], &sweep["waiters"]), (&json!("sweep"), &json!(0)));
    assert_eq!(sweep["sink"], json!({ "token": token, "holder": guard.holder() }));
    assert_eq!(sweep["held"]["token"], token);
    assert!(sweep["held"]["holder"].as_str().unwrap().starts_with("office-"), "{sweep}");
    for span in ["age_ms", "remaining_ms"] {
        assert!(sweep["held"][span].as_u64().is_some_and(|ms| ms <= 30_000), "{sweep}");
    }

    guard.release().await;
    let (_, reply) = answer(reqwest::Client::new().get(&url)).await;
    assert_eq!(reply["data"]["leases"][0]["held"], Value::Null);
    assert!(application.stop().await, "the stop took too long");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_without_leases_shows_an_empty_list() {
    let depot = Depot::start("depot.leases").await;
    let (status, reply) = answer(depot.request("GET", "/actuator/leases")).await;
    let nothing = json!({ "redis": false, "database": false, "leases": [] });
    assert_eq!((status, &reply["data"]), (200, &nothing), "{reply}");
    let (status, _) = answer(depot.request("POST", "/actuator/leases")).await;
    assert_eq!(status, 405);
    depot.finish().await;
}
