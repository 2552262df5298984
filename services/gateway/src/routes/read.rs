//! From YAML to a checked table, with every problem found in one go.
//!
//! serde would stop at the first thing it dislikes; so the text becomes loose values first and each field is read
//! out of them on its own. What is left over in an entry is an unknown key.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use millrace_common::resilience::rate_limit::Quota;
use millrace_common::runtime::settings::{ByteSize, Problems, duration};
use serde::de::DeserializeOwned;
use serde_norway::{Mapping, Value};

use super::template::Template;
use super::{Auth, Method, QuotaBy, Route, UpstreamName};

/// The table that holds when no file is named.
const BUILT_IN: &str = include_str!("../../config/routes.yaml");
/// Nobody waits longer at an HTTP request; work that takes longer answers 202.
const DEADLINE_MAX: Duration = Duration::from_secs(60);
/// Request bodies are held in memory while they are checked.
const BODY_BYTES_MAX: u64 = 10 * 1024 * 1024;

/// The checked table; literal paths come before parameters.
#[derive(Debug, Clone)]
pub(crate) struct RouteTable(Vec<Route>);

impl RouteTable {
    /// Reads the named file, or the built-in table when the name is empty.
    pub(crate) fn load(file: &str) -> Result<Self, Problems> {
        if file.is_empty() {
            return Self::parse(BUILT_IN);
        }
        match std::fs::read_to_string(Path::new(file)) {
            Ok(text) => Self::parse(&text),
            Err(cause) => {
                let mut problems = Problems::new();
                problems.add("gateway.routes_file", format!("`{file}` can't be read: {cause}"));
                Err(problems)
            }
        }
    }

    /// Reads a table.
    pub(crate) fn parse(text: &str) -> Result<Self, Problems> {
        let mut problems = Problems::new();
        let mut routes = Vec::new();
        for (index, value) in entries(text, &mut problems).into_iter().enumerate() {
            let name = format!("routes[{index}]");
            match value {
                Value::Mapping(fields) => {
                    routes.extend(Entry { name, fields, problems: &mut problems }.read());
                }
                Value::Null
                | Value::Bool(_)
                | Value::Number(_)
                | Value::String(_)
                | Value::Sequence(_)
                | Value::Tagged(_) => problems.add(name, "is not a mapping of fields"),
            }
        }
        refuse_clashes(&routes, &mut problems);
        if !problems.is_empty() {
            return Err(problems);
        }
        routes.sort_by(|a, b| a.path.precedence().cmp(&b.path.precedence()));
        Ok(Self(routes))
    }

    /// The routes, literal paths first.
    pub(crate) fn routes(&self) -> &[Route] {
        &self.0
    }
}

fn entries(text: &str, problems: &mut Problems) -> Vec<Value> {
    let mut top: Mapping = match serde_norway::from_str(text) {
        Ok(top) => top,
        Err(cause) => {
            problems.add("routes", format!("the table is not YAML of the known form: {cause}"));
            return Vec::new();
        }
    };
    let list = top.remove("routes");
    for key in top.keys() {
        problems.add(printed(key), "is an unknown key; the table has `routes` alone");
    }
    match list {
        Some(Value::Sequence(entries)) if !entries.is_empty() => entries,
        _ => {
            problems.add("routes", "must be a list with at least one route");
            Vec::new()
        }
    }
}

/// One entry while it is read: fields are taken out one by one.
struct Entry<'a> {
    name: String,
    fields: Mapping,
    problems: &'a mut Problems,
}

impl Entry<'_> {
    fn read(mut self) -> Option<Route> {
        let path = self.word("path", Template::parse);
        if let Some(path) = &path {
            self.name = format!("{} ({path})", self.name);
        }
        let methods = self.methods();
        let auth = self.word("auth", Auth::parse);
        let role = self.fields.contains_key("role").then(|| self.take::<String>("role")).flatten();
        self.require(role.is_none() || auth != Some(Auth::Hmac), "role", "needs auth: jwt");
        let upstream = self.word("upstream", UpstreamName::parse);
        let quota = self.quota(auth);
        let deadline = self.present("deadline").and_then(|value| {
            let read = duration::deserialize(value);
            self.checked("deadline", read)
        });
        let in_range = deadline.is_none_or(|span| !span.is_zero() && span <= DEADLINE_MAX);
        self.require(in_range, "deadline", "must be between 1ms and 60s");
        let body_max = self.take::<ByteSize>("body_max").map(|size| size.as_u64());
        self.require(
            body_max.is_none_or(|size| size <= BODY_BYTES_MAX),
            "body_max",
            "is above 10MiB",
        );
        for key in std::mem::take(&mut self.fields).keys() {
            self.problems.add(format!("{}.{}", self.name, printed(key)), "is an unknown key");
        }
        let (quota, quota_by) = quota?;
        Some(Route {
            path: path?,
            methods: methods?,
            auth: auth?,
            role,
            upstream: upstream?,
            quota,
            quota_by,
            deadline: deadline?,
            body_bytes_max: usize::try_from(body_max?).ok()?,
        })
    }

    fn methods(&mut self) -> Option<Vec<Method>> {
        let words = self.take::<Vec<String>>("methods")?;
        self.require(!words.is_empty(), "methods", "must name at least one");
        let mut methods = Vec::with_capacity(words.len());
        for word in words {
            match Method::parse(&word) {
                Ok(method) => methods.push(method),
                Err(problem) => self.add("methods", problem),
            }
        }
        Some(methods)
    }

    fn quota(&mut self, auth: Option<Auth>) -> Option<(Quota, QuotaBy)> {
        let fields = self.take::<Mapping>("quota")?;
        let mut inner =
            Entry { name: format!("{}.quota", self.name), fields, problems: &mut *self.problems };
        let per_second = inner.take::<f64>("per_second");
        let sane = per_second.is_none_or(|rate| rate.is_finite() && (0.001..=1e6).contains(&rate));
        inner.require(sane, "per_second", "must be between 0.001 and 1000000");
        let burst = inner.take::<u32>("burst");
        inner.require(burst != Some(0), "burst", "must be at least 1");
        let by = inner.word("by", QuotaBy::parse);
        let known = by != Some(QuotaBy::Caller) || auth != Some(Auth::Hmac);
        inner.require(known, "by", "can't be `caller` where auth is hmac: nobody is known; use ip");
        for key in std::mem::take(&mut inner.fields).keys() {
            inner.problems.add(format!("{}.{}", inner.name, printed(key)), "is an unknown key");
        }
        Some((Quota { per_second: per_second?, burst: burst? }, by?))
    }

    fn word<T>(&mut self, key: &str, parse: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        let word = self.take::<String>(key)?;
        let parsed = parse(&word);
        self.checked(key, parsed)
    }

    fn take<T: DeserializeOwned>(&mut self, key: &str) -> Option<T> {
        let value = self.present(key)?;
        let read = serde_norway::from_value(value);
        self.checked(key, read)
    }

    fn present(&mut self, key: &str) -> Option<Value> {
        let value = self.fields.remove(key);
        self.require(value.is_some(), key, "is missing");
        value
    }

    fn checked<T>(&mut self, key: &str, read: Result<T, impl std::fmt::Display>) -> Option<T> {
        read.map_err(|problem| self.add(key, problem)).ok()
    }

    fn require(&mut self, holds: bool, key: &str, problem: &str) {
        if !holds {
            self.add(key, problem);
        }
    }

    fn add(&mut self, key: &str, problem: impl std::fmt::Display) {
        self.problems.add(format!("{}.{key}", self.name), problem);
    }
}

/// Two entries must not both claim a method of a path, nor name one path in two ways: only the first would ever
/// be asked.
fn refuse_clashes(routes: &[Route], problems: &mut Problems) {
    let mut spelling: HashMap<String, &Template> = HashMap::new();
    let mut claimed: HashMap<(String, Method), ()> = HashMap::new();
    for route in routes {
        let form = route.path.form();
        let first = *spelling.entry(form.clone()).or_insert(&route.path);
        problems.require(
            *first == route.path,
            &route.path,
            format!("matches the same paths as {first}; name the parameters alike"),
        );
        for method in &route.methods {
            let again = claimed.insert((form.clone(), *method), ()).is_some();
            problems.require(!again, &route.path, format!("{} is routed twice", method.as_str()));
        }
    }
}

fn printed(key: &Value) -> String {
    key.as_str().map_or_else(|| format!("{key:?}"), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_table_is_right_and_covers_the_public_interface() {
        let table = RouteTable::load("").unwrap();
        let lines: Vec<String> = table
            .routes()
            .iter()
            .flat_map(|route| {
                route.methods.iter().map(|m| format!("{} {}", m.as_str(), route.path))
            })
            .collect();
        assert_eq!(
            lines,
            [
                "GET /api/v1/audit/records",
                "GET /api/v1/logs",
                "POST /api/v1/orders",
                "GET /api/v1/orders",
                "GET /api/v1/orders/{id}",
                "POST /api/v1/orders/{id}/cancel",
                "POST /api/v1/payments/results",
                "GET /api/v1/products",
                "GET /api/v1/products/{sku}",
                "PUT /api/v1/products/{sku}",
                "POST /api/v1/stock/{sku}/adjustments",
            ]
        );
    }

    #[test]
    fn every_problem_of_a_table_is_reported_together() {
        let problems = RouteTable::parse(
            "
surprise: 1
routes:
  - path: /api/v1/a
    methods: [GET, FETCH]
    auth: password
    upstream: nobody
    quota: { per_second: 0, burst: 0, by: caller, window: 1 }
    body_max: 11MiB
    retries: 3
  - path: /other
    methods: []
    auth: hmac
    role: admin
    upstream: order
    quota: { per_second: 1, burst: 1, by: caller }
    deadline: 61s
    body_max: 1KiB
  - just text
",
        )
        .unwrap_err();
        let text = problems.to_string();
        for expected in [
            "surprise: is an unknown key",
            "routes[0] (/api/v1/a).methods: `FETCH` is none of",
            "routes[0] (/api/v1/a).auth: `password` is none of jwt, hmac",
            "routes[0] (/api/v1/a).upstream: `nobody` is none of",
            "routes[0] (/api/v1/a).quota.per_second: must be between",
            "routes[0] (/api/v1/a).quota.burst: must be at least 1",
            "routes[0] (/api/v1/a).quota.window: is an unknown key",
            "routes[0] (/api/v1/a).deadline: is missing",
            "routes[0] (/api/v1/a).body_max: is above 10MiB",
            "routes[0] (/api/v1/a).retries: is an unknown key",
            "routes[1].path: `/other` does not begin with /api/",
            "routes[1].methods: must name at least one",
            "routes[1].role: needs auth: jwt",
            "routes[1].quota.by: can't be `caller`",
            "routes[1].deadline: must be between",
            "routes[2]: is not a mapping",
        ] {
            assert!(text.contains(expected), "«{expected}» is missing in: {text}");
        }
        assert_eq!(problems.lines().len(), 16, "{text}");
    }

    #[test]
    fn a_method_routed_twice_and_a_path_named_in_two_ways_are_refused() {
        let entry = |path: &str| {
            format!(
                "  - {{ path: '{path}', methods: [GET], auth: jwt, upstream: order, deadline: 1s, \
                 body_max: 0B, quota: {{ per_second: 1, burst: 1, by: caller }} }}\n"
            )
        };
        let table = format!("routes:\n{}{}", entry("/api/v1/a/{id}"), entry("/api/v1/a/{name}"));
        let text = RouteTable::parse(&table).unwrap_err().to_string();
        assert!(
            text.contains("/api/v1/a/{name}: matches the same paths as /api/v1/a/{id}"),
            "{text}"
        );
        assert!(text.contains("/api/v1/a/{name}: GET is routed twice"), "{text}");
    }

    #[test]
    fn a_table_that_is_no_yaml_or_has_no_routes_is_refused() {
        for wrong in ["", "routes: []", "routes: 7", "[", "- a"] {
            assert!(RouteTable::parse(wrong).is_err(), "{wrong}");
        }
        assert!(RouteTable::load("/nowhere/routes.yaml").is_err());
    }
}
