//! Wrong settings and a wrong route table.

use std::time::Duration;

use millrace_common::load_settings;
use millrace_gateway::Settings;
use millrace_testkit::process::Process;

const NAMED: [&str; 9] = [
    "http.port",
    "auth.jwks_file",
    "gateway.cors_origins",
    "gateway.surprise",
    "upstreams.log_ingest",
    "upstreams.connect_timeout",
    "breaker.ratio",
    "routes[0] (/api/v1/a).deadline: is missing",
    "routes[0] (/api/v1/a).upstream: `nobody`",
];

fn wrong(routes: &std::path::Path) -> Vec<(String, String)> {
    std::fs::write(
        routes,
        "routes: [{ path: /api/v1/a, methods: [GET], auth: jwt, upstream: nobody, body_max: 0B, \
         quota: { per_second: 1, burst: 1, by: ip } }]",
    )
    .unwrap();
    [
        ("GATEWAY__HTTP__PORT", "eighty"),
        ("GATEWAY__GATEWAY__CORS_ORIGINS", "*"),
        ("GATEWAY__GATEWAY__SURPRISE", "1"),
        ("GATEWAY__GATEWAY__ROUTES_FILE", routes.to_str().unwrap()),
        ("GATEWAY__UPSTREAMS__LOG_INGEST", "log-ingest:8080/path"),
        ("GATEWAY__UPSTREAMS__CONNECT_TIMEOUT", "0s"),
        ("GATEWAY__BREAKER__RATIO", "1.5"),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into()
}

#[tokio::test]
async fn every_problem_of_settings_and_table_is_named_and_the_exit_code_is_78() {
    let directory = tempfile::tempdir().unwrap();
    let environment = wrong(&directory.path().join("routes.yaml"));
    let problems = load_settings::<Settings>(None, environment.clone()).unwrap_err().to_string();
    let process = Process::start("millrace-gateway", environment).unwrap();
    let status = process.wait_exit(Duration::from_secs(10)).await;
    assert_eq!(status.code(), Some(78), "{}", process.output());
    for named in NAMED {
        assert!(problems.contains(named), "{named} is missing in: {problems}");
        assert!(process.output().contains(named), "{named} is missing in: {}", process.output());
    }
}
