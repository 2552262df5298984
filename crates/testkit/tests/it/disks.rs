//! A full disk, and room again.

use std::time::Duration;

use millrace_testkit::{SmallDisks, Stack, TopicSpec, wait_until};

const LIMIT: Duration = Duration::from_secs(15);

#[tokio::test]
async fn servers_on_full_disks_refuse_and_come_back_with_their_data() {
    let disks = SmallDisks { kafka_bytes: Some(64 << 20), postgres_bytes: Some(256 << 20) };
    let stack = Stack::with_small_disks(disks).await.unwrap();
    postgres(&stack).await;
    kafka(&stack).await;
}

async fn postgres(stack: &Stack) {
    let database = stack.database("full_disk", &[]).await;
    let pool = database.owner_pool();
    sqlx::query("create table kept (id int, filler text)").execute(&pool).await.unwrap();
    sqlx::query("insert into kept values (1, '')").execute(&pool).await.unwrap();
    stack.postgres_disk().fill().unwrap();
    let grow = "insert into kept select n, repeat('x', 1000) from generate_series(1, 50000) n";
    let refused = sqlx::query(grow).execute(&pool).await.unwrap_err().to_string();
    assert!(refused.contains("No space left"), "{refused}");
    stack.postgres_disk().free().unwrap();
    // A full disk may have cost it its log, and then it ended by itself.
    stack.postgres().kill();
    stack.postgres().start().await.unwrap();
    let kept: i64 = sqlx::query_scalar("select count(*) from kept").fetch_one(&pool).await.unwrap();
    assert_eq!(kept, 1);
}

async fn kafka(stack: &Stack) {
    let topics = stack.topics(&stack.namespace(), &[TopicSpec::new("kept", 1)]).await;
    let topic = &topics.names()[0];
    stack.produce(topic, b"k", Some(b"1"), &[]).await;
    stack.kafka_disk().fill().unwrap();
    let mut config = stack.access().client();
    config.set("message.timeout.ms", "1000");
    let producer: rdkafka::producer::FutureProducer = config.create().unwrap();
    let payload = vec![7_u8; 100_000];
    // Sent until it ends: a single refusal may be a late answer of a disk that still has room.
    let refused = wait_until("it gave up its only disk", LIMIT, || async {
        let record = rdkafka::producer::FutureRecord::to(topic).key("k").payload(&payload);
        let sent = producer.send(record, Duration::ZERO).await;
        if stack.kafka().running() { Err(sent.is_err()) } else { Ok(sent.is_err()) }
    });
    assert!(refused.await, "a full disk takes nothing");
    stack.kafka_disk().free().unwrap();
    stack.kafka().start().await.unwrap();
    assert!(!stack.records(topic).await.is_empty());
}
