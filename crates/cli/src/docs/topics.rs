//! docs/topics.md: the table of topics, what travels on them, and who reads them.

use millrace_common::envelope::{Event, Topic as _};
use millrace_common::request_log::RequestLogEvent;
use millrace_common::scheduler::TaskEvent;
use millrace_contracts::events::{
    AuditEvent, InventoryEvent, OrderEvent, PaymentEvent, ProductEvent, StockChangeEvent,
    StockLevelEvent,
};
use millrace_contracts::topics::{Cleanup, Profile, TopicSpec, all_specs};
use millrace_contracts::{Topic, groups};

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// The page.
pub(super) fn page() -> String {
    let mut text = String::from(
        "# Topics\n\n\
         Made by `make docs` from the code; don't edit.\n\n\
         `millrace topics ensure` makes them; `make up` and the chart's job run it.\n\
         The partition count of a keyed topic never changes in place: see data-flow.md, «More partitions».\n\n\
         | profile | partitions | replicas | in sync at least |\n|---|---|---|---|\n",
    );
    for (name, profile) in
        [("production", Profile::Production), ("local", Profile::Local), ("test", Profile::Test)]
    {
        text.push_str(&format!(
            "| {name} | {} | {} | {} |\n",
            profile.partitions(),
            profile.replication(),
            profile.min_in_sync()
        ));
    }
    text.push_str("\n| topic | key | kept | carries | read by |\n|---|---|---|---|---|\n");
    for spec in all_specs() {
        let carries = types_on(&spec).unwrap_or_else(|| spec.purpose.to_owned());
        text.push_str(&format!(
            "| `{}` | {} | {} | {carries} | {} |\n",
            spec.name,
            spec.key,
            kept(&spec),
            readers(&spec)
        ));
    }
    text
}

fn kept(spec: &TopicSpec) -> String {
    match spec.cleanup {
        Cleanup::Delete => format!("{} days", spec.retention_ms / DAY_MS),
        Cleanup::Compact => "last of each key".to_owned(),
    }
}

fn readers(spec: &TopicSpec) -> String {
    let readers: Vec<String> = groups::ALL
        .iter()
        .filter(|(_, topic)| topic.topic_name() == spec.name)
        .map(|(group, _)| format!("`{group}`"))
        .collect();
    readers.join(", ")
}

fn types_on(spec: &TopicSpec) -> Option<String> {
    let topic = Topic::ALL.into_iter().find(|topic| topic.topic_name() == spec.name)?;
    let types = match topic {
        Topic::OrderEvents => OrderEvent::TYPES,
        Topic::InventoryEvents => InventoryEvent::TYPES,
        Topic::ProductChanges => ProductEvent::TYPES,
        Topic::StockChanges => StockChangeEvent::TYPES,
        Topic::StockLevels => StockLevelEvent::TYPES,
        Topic::PaymentResults => PaymentEvent::TYPES,
        Topic::AuditTopic => AuditEvent::TYPES,
        Topic::RequestLogs => RequestLogEvent::TYPES,
        Topic::Tasks => TaskEvent::TYPES,
    };
    let names: Vec<String> =
        types.iter().map(|(name, version)| format!("`{name}` v{version}")).collect();
    Some(names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chassis_sends_request_logs_to_the_topic_of_the_table() {
        assert_eq!(RequestLogEvent::TOPIC, Topic::RequestLogs.topic_name());
    }

    #[test]
    fn the_scheduler_sends_tasks_to_the_topic_of_the_table() {
        assert_eq!(TaskEvent::TOPIC, Topic::Tasks.topic_name());
    }
}
