//! Calls of `/schedules`, and what their refusals say.

use std::time::Duration;

use anyhow::Context;
use millrace_common::scheduler::TaskForm;
use reqwest::{Method, RequestBuilder, StatusCode, Url};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// A service answers or gives up long before.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A service's API with a token for it.
pub(super) struct Api {
    client: reqwest::Client,
    url: Url,
    token: String,
}

#[derive(Deserialize)]
struct Reply<T> {
    data: T,
}

/// Any error's reply.
#[derive(Deserialize)]
struct Refusal {
    code: String,
    message: String,
    data: Option<RefusalData>,
}

#[derive(Deserialize)]
struct RefusalData {
    #[serde(default)]
    fields: Vec<FieldProblem>,
    version: Option<i64>,
    trace_id: Option<String>,
}

#[derive(Deserialize)]
struct FieldProblem {
    field: String,
    problem: String,
}

impl Api {
    pub(super) fn new(url: Url, token: String) -> Self {
        Self { client: reqwest::Client::new(), url, token }
    }

    pub(super) async fn get<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
    ) -> anyhow::Result<T> {
        answer(self.request(Method::GET, path, query)?).await
    }

    pub(super) async fn put<T: DeserializeOwned>(
        &self,
        id: &str,
        query: &[(&str, &str)],
        form: &TaskForm,
    ) -> anyhow::Result<T> {
        answer(self.request(Method::PUT, &[id], query)?.json(form)).await
    }

    pub(super) async fn delete(&self, id: &str, query: &[(&str, &str)]) -> anyhow::Result<()> {
        answer::<Value>(self.request(Method::DELETE, &[id], query)?).await.map(|_| ())
    }

    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
        body: Option<&Value>,
    ) -> anyhow::Result<T> {
        let request = self.request(Method::POST, path, query)?;
        answer(match body {
            Some(body) => request.json(body),
            None => request,
        })
        .await
    }

    fn request(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, &str)],
    ) -> anyhow::Result<RequestBuilder> {
        let url = address(&self.url, path, query)?;
        Ok(self.client.request(method, url).bearer_auth(&self.token).timeout(TIMEOUT))
    }
}

/// A name's slashes and dots don't lead elsewhere: each part is escaped.
fn address(base: &Url, path: &[&str], query: &[(&str, &str)]) -> anyhow::Result<Url> {
    let mut url = base.clone();
    {
        let mut segments =
            url.path_segments_mut().ok().context("--url must begin with http:// or https://")?;
        segments.pop_if_empty().push("schedules");
        for part in path {
            anyhow::ensure!(!["", ".", ".."].contains(part), "a task's name can't be `{part}`");
            segments.push(part);
        }
    }
    if !query.is_empty() {
        url.query_pairs_mut().extend_pairs(query);
    }
    Ok(url)
}

async fn answer<T: DeserializeOwned>(request: RequestBuilder) -> anyhow::Result<T> {
    let reply = request.send().await.context("the service doesn't answer")?;
    let status = reply.status();
    let text = reply.text().await.context("the service's answer broke off")?;
    if !status.is_success() {
        anyhow::bail!("{}", refusal(status, &text));
    }
    let reply: Reply<T> = serde_json::from_str(&text)
        .with_context(|| format!("{status} with a body that is no answer of this API"))?;
    Ok(reply.data)
}

/// The code, the sentence, each field, and what helps to go on.
fn refusal(status: StatusCode, text: &str) -> String {
    let Ok(Refusal { code, message, data }) = serde_json::from_str(text) else {
        return format!("the service answered {status}");
    };
    let mut told = format!("{code}: {message}");
    if let Some(RefusalData { fields, version, trace_id }) = data {
        for FieldProblem { field, problem } in fields {
            told.push_str(&format!("\n  {field} {problem}"));
        }
        if let Some(version) = version {
            told.push_str(&format!("\n  it has version {version} now"));
        }
        if let Some(trace_id) = trace_id {
            told.push_str(&format!("\n  trace {trace_id}"));
        }
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_its_code_its_fields_and_the_version_there_is() {
        let text = r#"{"code":"schedule.unknown_zone","message":"no","data":{"fields":[{"field":"schedule.zone","problem":"is unknown"}]}}"#;
        let told = refusal(StatusCode::UNPROCESSABLE_ENTITY, text);
        assert_eq!(told, "schedule.unknown_zone: no\n  schedule.zone is unknown");
        let text = r#"{"code":"schedule.version_conflict","message":"changed","data":{"expected_version":1,"version":3}}"#;
        let told = refusal(StatusCode::CONFLICT, text);
        assert_eq!(told, "schedule.version_conflict: changed\n  it has version 3 now");
        let text = r#"{"code":"auth.forbidden","message":"no","data":null}"#;
        assert_eq!(refusal(StatusCode::FORBIDDEN, text), "auth.forbidden: no");
        assert_eq!(
            refusal(StatusCode::BAD_GATEWAY, "<html>"),
            "the service answered 502 Bad Gateway"
        );
    }

    #[test]
    fn a_name_leads_nowhere_else() {
        let of = |base: &str, path: &[&str], query: &[(&str, &str)]| {
            address(&base.parse().unwrap(), path, query).map(|url| url.to_string())
        };
        let plain = of("http://h:1", &["a", "next"], &[("count", "3")]).unwrap();
        assert_eq!(plain, "http://h:1/schedules/a/next?count=3");
        let odd = of("http://h:1/base/", &["a/../b?c"], &[]).unwrap();
        assert_eq!(odd, "http://h:1/base/schedules/a%2F..%2Fb%3Fc");
        assert_eq!(of("http://h:1", &[], &[]).unwrap(), "http://h:1/schedules");
        assert!(of("http://h:1", &[".."], &[]).is_err());
        assert!(of("mailto:ann", &["a"], &[]).is_err());
    }
}
