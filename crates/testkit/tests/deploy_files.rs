//! The files under deploy/ that nothing here runs: the compose file is checked against the part of the Compose
//! specification that it uses, alerts and dashboards against the metrics that the code declares.
#![expect(clippy::unwrap_used, reason = "a test's helpers fail like the test")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use millrace_testkit::workspace;
use serde::Deserialize;
use serde_json::Value;

/// <https://github.com/compose-spec/compose-spec/blob/main/schema/compose-spec.json>, only what we use: a key
/// beyond it is either a mistake or a reason to extend this.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Compose {
    name: String,
    services: BTreeMap<String, Service>,
    configs: BTreeMap<String, Config>,
    volumes: BTreeMap<String, Option<Value>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Service {
    image: String,
    #[serde(default)]
    command: Vec<String>,
    #[serde(default)]
    environment: BTreeMap<String, String>,
    #[serde(default)]
    ports: Vec<String>,
    #[serde(default)]
    volumes: Vec<String>,
    #[serde(default)]
    configs: Vec<ConfigUse>,
    #[serde(default)]
    depends_on: Vec<String>,
    network_mode: Option<String>,
    healthcheck: Option<HealthCheck>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    content: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ConfigUse {
    source: String,
    target: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HealthCheck {
    test: Vec<String>,
    interval: String,
    timeout: String,
    retries: u32,
}

/// Images with nothing in them that could ask how the program is.
const WITHOUT_CHECK: [&str; 2] = ["otel-collector", "jaeger"];

fn deploy() -> PathBuf {
    workspace::root().join("deploy")
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn compose() -> Compose {
    serde_norway::from_str(&read(&deploy().join("compose.yaml"))).unwrap()
}

#[test]
fn every_image_is_pinned_and_tells_how_it_is() {
    for (name, service) in compose().services {
        let (_, tag) = service.image.rsplit_once(':').expect("an image has a tag");
        let digits = tag.trim_start_matches('v').split(['.', '-']);
        let parts =
            digits.take_while(|part| part.bytes().all(|byte| byte.is_ascii_digit())).count();
        assert!(parts >= 2, "{name}: {tag} is no pinned version");
        match service.healthcheck {
            Some(check) => {
                assert_eq!(check.test[0], "CMD", "{name}: without a shell between");
                assert!(
                    check.retries > 0
                        && check.interval.ends_with('s')
                        && check.timeout.ends_with('s')
                );
            }
            None => assert!(WITHOUT_CHECK.contains(&name.as_str()), "{name} has no health check"),
        }
    }
}

#[test]
fn ports_are_closed_to_other_machines_and_come_from_the_one_file() {
    let known: BTreeSet<String> = read(&deploy().join("local/ports.env"))
        .lines()
        .filter_map(|line| line.split_once('=').map(|(name, _)| name.to_owned()))
        .filter(|name| !name.starts_with('#'))
        .chain(["POSTGRES_PASSWORD".to_owned()])
        .collect();
    let text = read(&deploy().join("compose.yaml"));
    for part in text.split("${").skip(1) {
        let name = part.split([':', '}']).next().unwrap();
        assert!(known.contains(name), "{name} is not in ports.env");
    }
    for (name, service) in compose().services {
        for port in &service.ports {
            assert!(port.starts_with("127.0.0.1:${"), "{name}: {port}");
        }
        if service.network_mode.is_some() {
            let told: Vec<&String> =
                service.command.iter().chain(service.environment.values()).collect();
            assert!(told.iter().any(|it| it.contains("127.0.0.1")), "{name} listens for everybody");
        }
    }
}

#[test]
fn everything_that_is_mounted_or_named_is_there() {
    let compose = compose();
    assert_eq!(compose.name, "millrace");
    for (name, service) in &compose.services {
        for volume in &service.volumes {
            let source = volume.split(':').next().unwrap();
            let there = match source.strip_prefix("./") {
                Some(file) => deploy().join(file).exists(),
                None => compose.volumes.contains_key(source),
            };
            assert!(there, "{name}: {source} is missing");
        }
        for other in &service.depends_on {
            assert!(compose.services.contains_key(other), "{name}: {other} is missing");
        }
        for config in &service.configs {
            assert!(config.target.starts_with('/'), "{name}: {}", config.target);
            let content = &compose.configs[&config.source].content;
            assert!(serde_norway::from_str::<Value>(content).is_ok_and(|value| value.is_array()));
        }
    }
}

/// Where docker and its compose plug-in are, they have the last word; a daemon is not needed.
#[test]
fn docker_compose_takes_the_file() {
    let compose = |arguments: &[&str]| {
        Command::new("docker").arg("compose").args(arguments).env("POSTGRES_PASSWORD", "x").output()
    };
    if !compose(&["version"]).is_ok_and(|output| output.status.success()) {
        return;
    }
    let (ports, file) = (deploy().join("local/ports.env"), deploy().join("compose.yaml"));
    let (ports, file) = (ports.to_str().unwrap(), file.to_str().unwrap());
    let checked = compose(&["--env-file", ports, "--file", file, "config", "--quiet"]).unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
}

#[derive(Deserialize)]
struct Rules {
    groups: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    rules: Vec<Rule>,
}

#[derive(Deserialize)]
struct Rule {
    alert: String,
    expr: String,
    annotations: BTreeMap<String, String>,
}

#[test]
fn every_alert_watches_a_declared_metric_and_has_its_runbook_section() {
    let rules: Rules =
        serde_norway::from_str(&read(&deploy().join("alerts/millrace.yaml"))).unwrap();
    let runbook = read(&workspace::root().join("docs/runbook/alerts.md"));
    let declared = declared_metrics();
    let alerts: Vec<Rule> = rules.groups.into_iter().flat_map(|group| group.rules).collect();
    for rule in &alerts {
        refuse_unknown_metrics(&rule.alert, &rule.expr, &declared);
        assert!(
            runbook.contains(&format!("\n## {}\n", rule.alert)),
            "{} has no section",
            rule.alert
        );
        let link = format!("docs/runbook/alerts.md#{}", rule.alert.to_lowercase());
        assert_eq!(rule.annotations["runbook_url"], link);
    }
    assert_eq!(runbook.matches("\n## ").count(), alerts.len(), "a section without an alert");
}

#[test]
fn dashboards_show_declared_metrics() {
    let dashboard: Value =
        serde_json::from_str(&read(&deploy().join("grafana/dashboards/millrace.json"))).unwrap();
    let declared = declared_metrics();
    for panel in dashboard["panels"].as_array().unwrap() {
        let title = panel["title"].as_str().unwrap();
        for target in panel["targets"].as_array().unwrap() {
            refuse_unknown_metrics(title, target["expr"].as_str().unwrap(), &declared);
        }
    }
}

/// A name in an expression that has the form of a metric of ours must be one; labels stand in `by (...)` or `{...}`.
fn refuse_unknown_metrics(place: &str, expression: &str, declared: &BTreeSet<String>) {
    const GRAMMAR: [&str; 8] =
        ["max", "sum", "by", "rate", "increase", "histogram_quantile", "e", "m"];
    let mut bare = String::new();
    let mut labels = false;
    for part in expression.split_inclusive(['(', ')', '{', '}']) {
        if !labels {
            bare.push_str(part);
            bare.push(' ');
        }
        labels = part.ends_with('{') || part.trim_end_matches('(').trim_end().ends_with("by");
    }
    let words = bare.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    for word in words.filter(|word| word.starts_with(|c: char| c.is_ascii_lowercase())) {
        let base = ["_bucket", "_count", "_sum"]
            .iter()
            .find_map(|end| word.strip_suffix(end))
            .unwrap_or(word);
        assert!(GRAMMAR.contains(&word) || declared.contains(base), "{place}: no metric {word}");
    }
}

/// Every string in the sources that looks like a metric's name.
fn declared_metrics() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut folders = vec![workspace::root().join("crates"), workspace::root().join("services")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") && !path.ends_with(file!()) {
                found.extend(literals(&read(&path)));
            }
        }
    }
    found
}

fn literals(source: &str) -> impl Iterator<Item = String> + '_ {
    let is_name = |text: &&str| {
        text.contains('_') && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
    };
    source.split('"').filter(is_name).map(str::to_owned)
}

/// A misspelt setting in the chart would only show when a pod ends with 78.
#[test]
fn the_chart_names_only_settings_that_services_have() {
    let chart = workspace::root().join("helm/millrace");
    let values: Value = serde_norway::from_str(&read(&chart.join("values.yaml"))).unwrap();
    let helpers = read(&chart.join("templates/_helpers.tpl"));
    let shared = settings_under(&workspace::root().join("crates"));
    let mut all = shared.clone();
    for (name, service) in values["services"].as_object().unwrap() {
        let own = settings_under(&workspace::root().join("services").join(name));
        for kind in ["settings", "secrets"] {
            for key in service[kind].as_object().unwrap().keys() {
                assert!(own.contains(key) || shared.contains(key), "{name} has no setting {key}");
            }
        }
        all.extend(own);
    }
    let written = helpers.lines().filter_map(|line| line.split_once(": ").map(|(key, _)| key));
    let is_setting = |key: &&str| {
        let letters = key.bytes().all(|byte| byte.is_ascii_lowercase() || b"._".contains(&byte));
        letters && key.matches('.').count() == 1
    };
    let written: Vec<&str> = written.filter(is_setting).collect();
    assert!(written.len() > 20, "the templates write settings: {written:?}");
    for key in written {
        assert!(all.contains(key), "no service has the setting {key}");
    }
}

/// `section.key` of every TOML file in the `config` folders below.
fn settings_under(folder: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if folder.ends_with("config")
                && path.extension().is_some_and(|end| end == "toml")
            {
                let mut section = String::new();
                for line in read(&path).lines() {
                    if let Some(name) = line.strip_prefix('[') {
                        section = name.trim_end_matches(']').to_owned();
                    } else if let Some((key, _)) = line.split_once(" = ") {
                        found.insert(format!("{section}.{key}"));
                    }
                }
            }
        }
    }
    found
}
