//! A wrong configuration stops a service before it binds a port, with every problem at once.

use std::time::Duration;

use millrace_testkit::process::Process;

const SERVICES: [(&str, &str); 5] = [
    ("millrace-order", "ORDER"),
    ("millrace-inventory", "INVENTORY"),
    ("millrace-gateway", "GATEWAY"),
    ("millrace-audit", "AUDIT"),
    ("millrace-log-ingest", "LOG_INGEST"),
];

#[tokio::test(flavor = "multi_thread")]
async fn every_problem_is_named_the_exit_code_is_78_and_no_port_is_bound() {
    for (binary, prefix) in SERVICES {
        let wrong = [
            ("HTTP__PORT", "eighty"),
            ("HTTP__DEADLINE", "5"),
            ("HTTP__PROT", "1"),
            ("TELEMETRY__SAMPLE_RATIO", "2.0"),
            ("AUTH__JWKS_FILE", ""),
        ];
        let environment = wrong.map(|(key, value)| (format!("{prefix}__{key}"), value.to_owned()));
        let process = Process::start(binary, environment).unwrap();
        let status = process.wait_exit(Duration::from_secs(15)).await;
        let output = process.output();
        assert_eq!(status.code(), Some(78), "{binary}: {output}");
        for key in
            ["http.port", "http.deadline", "http.prot", "telemetry.sample_ratio", "auth.jwks_file"]
        {
            assert!(output.contains(key), "{binary} names {key}: {output}");
        }
        assert!(!output.contains("listening"), "{binary} bound a port: {output}");
    }
}
