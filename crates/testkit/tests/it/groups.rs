//! Groups as their coordinator sees them, under both protocols.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use millrace_testkit::{
    CommittedOffset, Group, GroupProtocol, Stack, TestTopics, TopicSpec, wait_until,
};
use rdkafka::consumer::{BaseConsumer, Consumer as _};

const LIMIT: Duration = Duration::from_secs(15);

/// A bare member that polls on a thread of its own.
struct Member {
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Member {
    fn join(stack: &Stack, group: &str, topic: &str, settings: &[(&str, &str)]) -> Self {
        let mut config = stack.access().client();
        config.set("group.id", group).set("enable.auto.commit", "false");
        settings.iter().for_each(|(name, value)| {
            config.set(*name, *value);
        });
        let consumer: BaseConsumer = config.create().unwrap();
        consumer.subscribe(&[topic]).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::SeqCst) {
                drop(consumer.poll(Duration::from_millis(20)));
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.take().map(std::thread::JoinHandle::join);
    }
}

async fn setting() -> (&'static Stack, TestTopics, String, String) {
    let stack = Stack::shared().await;
    let namespace = stack.namespace();
    let topics = stack.topics(&namespace, &[TopicSpec::new("shared-out", 2)]).await;
    let topic = topics.names()[0].clone();
    (stack, topics, topic, format!("group{}", namespace.group_suffix))
}

async fn stable(stack: &Stack, group: &str, topic: &str, members: usize) -> Group {
    wait_until("the group is stable", LIMIT, || async {
        let found = stack.access().group(group).await.ok_or("no such group")?;
        let assigned: usize =
            found.members.iter().map(|member| member.assigned.get(topic).map_or(0, Vec::len)).sum();
        let ready = found.state == "Stable" && found.members.len() == members && assigned == 2;
        if ready { Ok(found) } else { Err("not yet") }
    })
    .await
}

#[tokio::test]
async fn the_consumer_protocol_works_and_its_sessions_are_short() {
    let (stack, _topics, topic, group) = setting().await;
    assert_eq!(stack.access().group(&group).await, None);
    let settings = [("group.protocol", "consumer"), ("group.remote.assignor", "uniform")];
    let started = Instant::now();
    let first = Member::join(stack, &group, &topic, &settings);
    let alone = stable(stack, &group, &topic, 1).await;
    println!("alone after {:?}", started.elapsed());
    assert_eq!(alone.protocol, GroupProtocol::Consumer);
    assert_eq!(alone.assignor, "uniform");
    assert_eq!(alone.members[0].assigned[&topic], [0, 1]);
    assert!(alone.members[0].epoch > 0);
    let second = Member::join(stack, &group, &topic, &settings);
    let both = stable(stack, &group, &topic, 2).await;
    println!("both after {:?}", started.elapsed());
    assert!(both.members.iter().all(|member| member.assigned[&topic].len() == 1), "{both:?}");

    let intruded = CommittedOffset { offset: 7, metadata: "by a stranger".to_owned() };
    let access = stack.access();
    access.set_committed(&group, &topic, 0, &intruded).await.unwrap_err();
    access.set_committed_as_member(&group, &topic, 0, &intruded).await.unwrap();
    assert_eq!(access.committed(&group, &topic, 0).await, Some(intruded));
    drop((first, second));
}

#[tokio::test]
async fn the_classic_protocol_is_described_too() {
    let (stack, _topics, topic, group) = setting().await;
    let settings = [
        ("partition.assignment.strategy", "cooperative-sticky"),
        ("session.timeout.ms", "1500"),
        ("group.instance.id", "static-1"),
        ("client.id", "depot"),
    ];
    let member = Member::join(stack, &group, &topic, &settings);
    let found = stable(stack, &group, &topic, 1).await;
    assert_eq!(found.protocol, GroupProtocol::Classic);
    assert_eq!(found.assignor, "cooperative-sticky");
    assert_eq!(found.members[0].instance_id.as_deref(), Some("static-1"));
    assert_eq!(found.members[0].client_id, "depot");
    assert_eq!(found.members[0].assigned[&topic], [0, 1]);
    drop(member);
    wait_until("its session is over", LIMIT, || async {
        let found = stack.access().group(&group).await.unwrap();
        if found.members.is_empty() { Ok(()) } else { Err(found) }
    })
    .await;

    let access = stack.access();
    assert_eq!(access.committed(&group, &topic, 1).await, None);
    let committed = CommittedOffset { offset: 3, metadata: "map".to_owned() };
    access.set_committed(&group, &topic, 1, &committed).await.unwrap();
    assert_eq!(access.committed(&group, &topic, 1).await, Some(committed));
}
