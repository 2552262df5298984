//! One order's way through the house, put together from what each part left behind: spans and audit records.

use anyhow::Result;
use millrace_testkit::otlp::{SpanRecord, journal};

use super::Stage;
use super::scenario::{Scenario, records};
use crate::layout;

struct Step {
    at_ms: f64,
    what: &'static str,
    service: String,
    text: String,
}

/// Prints the steps in the order of their time, from the order's first.
pub(crate) async fn print(stage: &Stage, scenario: &Scenario) -> Result<()> {
    let spans = spans_of(&scenario.order.to_string())?;
    let mut steps: Vec<Step> = spans.iter().filter_map(step).collect();
    let mut trace = None;
    for record in records(stage, scenario.order).await? {
        trace = trace.or(record["trace_id"].as_str().map(str::to_owned));
        steps.push(Step {
            at_ms: record["occurred_at"].as_f64().unwrap_or_default(),
            what: "audit",
            service: text(&record["service"]),
            text: format!(
                "{} {} by {}",
                text(&record["action"]),
                text(&record["outcome"]),
                text(&record["actor"])
            ),
        });
    }
    let view = stage.customer.order(scenario.order).await?;
    println!("  order {} trace {}", scenario.order, trace.unwrap_or_default());
    steps.sort_by(|a, b| a.at_ms.total_cmp(&b.at_ms));
    let start = steps.first().map_or(0.0, |step| step.at_ms);
    for Step { at_ms, what, service, text } in steps {
        println!("  {:>9.1} ms  {what:<9} {service:<10} {text}", at_ms - start);
    }
    println!("  read view: {} {}", text(&view.data()["status"]), text(&view.data()["reason"]));
    Ok(())
}

/// The spans of the traces that name the order; none where the stack runs in containers (Jaeger has them there).
fn spans_of(order: &str) -> Result<Vec<SpanRecord>> {
    if !layout::traces().exists() {
        return Ok(Vec::new());
    }
    // Reading an order is no step of its way, and this program reads it all the time.
    let mut spans = journal::of_order(&layout::traces(), order)?;
    spans.retain(|span| span.attribute("http.request.method") != Some("GET"));
    Ok(spans)
}

fn step(span: &SpanRecord) -> Option<Step> {
    let (what, text) = match span.kind.as_str() {
        "server" => {
            let status = span.attribute("http.response.status_code").unwrap_or_default();
            ("http", format!("{} -> {status}", span.name))
        }
        "producer" => ("outbox", format!("published to {}", destination(span))),
        "consumer" => ("consumer", format!("handled from {}", destination(span))),
        _ => return None,
    };
    #[expect(clippy::cast_precision_loss, reason = "a microsecond more or less is not seen here")]
    let at_ms = span.start_ns as f64 / 1e6;
    Some(Step { at_ms, what, service: span.service.clone(), text })
}

fn destination(span: &SpanRecord) -> &str {
    span.attribute("messaging.destination.name").unwrap_or(&span.name)
}

fn text(value: &serde_json::Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
