//! Very many letters at once, some of which their topic refuses for their size: the others don't wait for them.

use std::collections::BTreeMap;
use std::sync::Arc;

use millrace_envelope::ConsumerGroup;
use millrace_messaging::{Consumer, HandlerError};
use millrace_testkit::{Stack, TopicSpec, wait_until};
use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;

use crate::harness::{Depot, Member, NO_ADDRESS, SOON, Script, TOPIC};

/// Of its own, because the gauge is by group and all tests share one page.
const GROUP: ConsumerGroup = ConsumerGroup::from_static("depot.narrow");
const LETTERS: u32 = 60;
/// All letters together go far beyond it, a single one with its texts does not.
const BYTES_MAX: &str = "4000";

/// A depot whose group gives up every record.
struct Narrow {
    depot: Depot,
    member: Member,
}

impl Narrow {
    fn dead_letter_topic(&self) -> String {
        self.depot.namespace.topic(TOPIC.dead_letter(GROUP).as_str())
    }

    async fn committed(&self) -> Option<i64> {
        let group = format!("{GROUP}{}", self.depot.namespace.group_suffix);
        let access = self.depot.stack.access();
        access.committed(&group, &self.depot.topic(), 0).await.map(|committed| committed.offset)
    }

    async fn wait_committed(&self, offset: u32) {
        wait_until("the offset is committed", SOON, || async {
            let committed = self.committed().await;
            if committed == Some(i64::from(offset)) { Ok(()) } else { Err(committed) }
        })
        .await;
    }

    /// The keys of the letters that readers see, and for each of its letters the bytes of text it has.
    async fn out(&self) -> BTreeMap<String, Vec<usize>> {
        let log = self.depot.stack.access().log(&self.dead_letter_topic(), 0).await;
        let mut out: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for letter in log.into_iter().filter(|entry| !entry.control && !entry.aborted) {
            let mut headers = letter.headers.iter();
            let chain = headers.find(|(name, _)| name == b"kafka_dlt-exception-stacktrace");
            let text = chain.and_then(|(_, value)| value.as_ref()).map_or(0, Vec::len);
            out.entry(String::from_utf8(letter.key.unwrap()).unwrap()).or_default().push(text);
        }
        out
    }

    async fn wait_out(&self, expected: &[String]) {
        let mut expected = expected.to_vec();
        expected.sort_unstable();
        wait_until("these letters are out", SOON, || async {
            let out: Vec<String> = self.out().await.into_keys().collect();
            if out == expected { Ok(()) } else { Err((out.len(), self.member.handle.health())) }
        })
        .await;
    }

    async fn wait_told(&self, letters: usize) {
        let begins = format!("letters are not published: {letters} too large");
        wait_until("the health and the metrics tell of all", SOON, || async {
            let health = self.member.handle.health();
            let reason = health.reason.as_deref().unwrap_or_default();
            let told = reason.starts_with(&begins) && reason.contains("max.message.bytes");
            let gauge = too_large();
            let right = told && !health.stalled && gauge == Some(letters.to_string());
            if right { Ok(()) } else { Err((health, gauge)) }
        })
        .await;
    }

    async fn widen(&self) {
        let client = self.depot.stack.access().client();
        let admin: AdminClient<DefaultClientContext> = client.create().unwrap();
        let topic = self.dead_letter_topic();
        let wide =
            AlterConfig::new(ResourceSpecifier::Topic(&topic)).set("max.message.bytes", "1000000");
        admin.alter_configs([&wide], &AdminOptions::new()).await.unwrap()[0].as_ref().unwrap();
    }
}

/// What the metrics page says of the group.
fn too_large() -> Option<String> {
    let page = millrace_telemetry::metrics::render();
    let mut lines = page.lines().filter(|line| line.starts_with("messaging_letters_too_large{"));
    let line = lines.find(|line| line.contains(GROUP.as_str()))?;
    line.rsplit(' ').next().map(str::to_owned)
}

fn parcels(numbers: std::ops::Range<u32>) -> Vec<String> {
    numbers.map(|number| format!("p{number}")).collect()
}

async fn send(depot: &Depot, ids: &[String]) {
    let parcels: Vec<(&str, u32)> = ids.iter().map(|id| (id.as_str(), 0)).collect();
    depot.send(&parcels).await;
}

async fn send_huge(depot: &Depot, key: &str, bytes: usize) {
    let huge = "x".repeat(bytes);
    depot.stack.produce(&depot.topic(), key.as_bytes(), Some(huge.as_bytes()), &[]).await;
}

#[tokio::test]
async fn letters_that_their_topic_refuses_wait_and_are_told_and_all_others_are_out_with_their_texts()
 {
    let stack = Stack::shared().await;
    let namespace = stack.namespace();
    let dead = TOPIC.dead_letter(GROUP);
    let small = TopicSpec::new(dead.as_str(), 1).with("max.message.bytes", BYTES_MAX);
    let _topics = stack.topics(&namespace, &[TopicSpec::new(TOPIC.as_str(), 1), small]).await;
    let mut depot = Depot::closed(stack, namespace);
    // Every record fails, and the flood's slow pace is not what this is about.
    depot.settings.flood_failures = 10_000;
    let mut sent = parcels(0..LETTERS);
    let (before, behind) = sent.split_at(30);
    send(&depot, before).await;
    send_huge(&depot, "huge", 5000).await;
    send(&depot, behind).await;
    send_huge(&depot, "huger", 9000).await;
    let act = |_| async { Err(HandlerError::permanent(&NO_ADDRESS, "it has none")) };
    let script = Script { done: Arc::clone(&depot.done), act };
    let member = depot.start(Consumer::new(GROUP, TOPIC, script));
    let narrow = Narrow { depot, member };
    narrow.wait_out(&sent).await;
    narrow.wait_committed(30).await;
    narrow.wait_told(2).await;
    // Letters that come later pass them, too.
    let later = parcels(LETTERS..LETTERS + 10);
    send(&narrow.depot, &later).await;
    sent.extend(later);
    narrow.wait_out(&sent).await;
    narrow.wait_told(2).await;
    assert_eq!(narrow.committed().await, Some(30));
    // Once the topic takes them they go, and nothing is left to be told.
    narrow.widen().await;
    sent.extend(["huge", "huger"].map(str::to_owned));
    narrow.wait_out(&sent).await;
    narrow.wait_committed(LETTERS + 12).await;
    wait_until("the health is good and the metric zero", SOON, || async {
        let (health, gauge) = (narrow.member.handle.health(), too_large());
        let good = health.reason.is_none() && gauge.as_deref() == Some("0");
        if good { Ok(()) } else { Err((health, gauge)) }
    })
    .await;
    let out = narrow.out().await;
    for (key, texts) in &out {
        assert_eq!(texts.len(), 1, "{key} is out once");
        assert_eq!(
            texts[0] > 0,
            !key.starts_with("huge"),
            "only what must goes without texts: {key}"
        );
    }
    assert_eq!(narrow.member.handle.health().dead_lettered, u64::from(LETTERS + 12));
    narrow.member.leave().await;
}
