//! Faults on a stack of one's own: each server goes and comes back with its data.

use std::time::Duration;

use millrace_testkit::{Stack, TopicSpec, try_wait_until};

#[tokio::test]
async fn each_server_can_be_broken_and_comes_back() {
    let stack = Stack::private().await.unwrap();
    postgres_keeps_what_it_committed(&stack).await;
    kafka_keeps_what_it_acknowledged(&stack).await;
    redis_comes_back_empty(&stack).await;
}

async fn postgres_keeps_what_it_committed(stack: &Stack) {
    let database = stack.database("faults", &[]).await;
    let pool = database.owner_pool();
    sqlx::query("create table kept (id int)").execute(&pool).await.unwrap();
    sqlx::query("insert into kept values (7)").execute(&pool).await.unwrap();
    stack.postgres().kill();
    assert!(sqlx::query("select 1").execute(&pool).await.is_err());
    stack.postgres().start().await.unwrap();
    let kept: i32 = sqlx::query_scalar("select id from kept").fetch_one(&pool).await.unwrap();
    assert_eq!(kept, 7);
    stack.postgres().restart().await.unwrap();
}

async fn kafka_keeps_what_it_acknowledged(stack: &Stack) {
    let topics = stack.topics(&stack.namespace(), &[TopicSpec::new("kept", 1)]).await;
    let topic = &topics.names()[0];
    stack.produce(topic, b"k", Some(b"1"), &[]).await;
    stack.kafka().pause();
    let port = stack.addresses().kafka_port;
    let frozen = try_wait_until(Duration::from_millis(300), || async {
        let ready = millrace_testkit::kafka::wait_ready(port, || Ok(())).await;
        ready.map_err(|error| error.to_string())
    });
    assert!(frozen.await.is_err(), "a frozen broker must not answer");
    stack.kafka().resume();
    stack.kafka().restart().await.unwrap();
    assert_eq!(stack.records(topic).await.len(), 1);
}

async fn redis_comes_back_empty(stack: &Stack) {
    stack.redis().flush().await.unwrap();
    stack.redis().stop().await.unwrap();
    assert!(stack.redis().flush().await.is_err());
    stack.redis().start().await.unwrap();
    stack.redis().flush().await.unwrap();
}
