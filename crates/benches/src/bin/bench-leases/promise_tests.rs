//! The checks that void figures: they accept what is whole, and each of them notices what it is there for.

use std::time::Duration;

use chrono::TimeDelta;
use millrace_common::scheduler::TaskForm;
use millrace_testkit::Stack;

use crate::bare_dispatch::Rows;
use crate::bare_lease::{BareLease, PolledLock, connect};
use crate::jobs::{Due, Jobs};
use crate::settings::Settings;

const TASKS: usize = 25;
const PATIENCE: Duration = Duration::from_secs(15);

async fn due_now(jobs: &Jobs) {
    let (form, at) = (TaskForm::every(Duration::from_secs(3600)), jobs.now().await.unwrap());
    let due = |number| Due { name: format!("task-{number}"), form: form.clone(), at };
    jobs.put((0..TASKS).map(due).collect()).await.unwrap();
}

#[tokio::test]
async fn a_backlog_is_whole_until_a_message_or_an_occurrence_is_missing() {
    let jobs = Jobs::new(Stack::shared().await).await.unwrap();
    due_now(&jobs).await;
    let dispatched = jobs.dispatcher().unwrap().dispatch_once().await.unwrap();
    assert_eq!(dispatched, Some(TASKS));
    assert_eq!(jobs.dispatched_once(TASKS).await.unwrap(), Ok(()));
    let rows = Rows::take(&jobs.owner).await.unwrap();

    jobs.execute("delete from outbox where aggregateid = 'task-3'").await.unwrap();
    let missing = jobs.dispatched_once(TASKS).await.unwrap().unwrap_err();
    assert!(missing.contains("1 not told"), "{missing}");
    let twice = "insert into outbox (id, aggregatetype, aggregateid, type, payload, topic, headers, ce_time, bucket) \
         select id, aggregatetype, aggregateid, type, payload, topic, headers, ce_time, bucket from outbox limit 1";
    jobs.execute(twice).await.unwrap();
    assert!(jobs.dispatched_once(TASKS).await.unwrap().is_err(), "one is told twice, one not");
    jobs.execute("delete from task_occurrence where task = 'task-4'").await.unwrap();
    assert!(jobs.dispatched_once(TASKS).await.unwrap().is_err());

    // What the bare side writes is what the dispatcher wrote.
    jobs.execute("truncate task_occurrence, outbox").await.unwrap();
    rows.insert(&jobs.app).await.unwrap();
    assert_eq!(jobs.dispatched_once(TASKS).await.unwrap(), Ok(()));
}

#[tokio::test]
async fn tasks_that_went_all_the_way_are_whole_until_an_effect_is_missing() {
    let stack = Stack::shared().await;
    let jobs = Jobs::new(stack).await.unwrap();
    jobs.start().await.unwrap();
    let count = i32::try_from(TASKS).unwrap();
    let now = jobs.now().await.unwrap();
    jobs.put_once("due", count, now, TimeDelta::milliseconds(1)).await.unwrap();
    jobs.worked(TASKS, PATIENCE).await.unwrap();
    jobs.stop().await.unwrap();
    assert_eq!(jobs.effective_once(TASKS).await.unwrap(), Ok(()));
    assert_eq!(jobs.published_once(stack, TASKS).await.unwrap(), Ok(()));

    jobs.execute("delete from task_occurrence where task = 'due-1'").await.unwrap();
    assert!(jobs.effective_once(TASKS).await.unwrap().is_err());
    assert!(jobs.published_once(stack, TASKS - 1).await.unwrap().is_err());
    jobs.execute("delete from effect where task = 'due-2'").await.unwrap();
    assert!(jobs.effective_once(TASKS - 1).await.unwrap().is_err());
}

#[tokio::test]
async fn the_bare_sides_take_and_give_back_what_they_are_beside() {
    let stack = Stack::shared().await;
    let redis = Settings::on(stack, &stack.namespace()).unwrap().redis;
    BareLease::least(&redis).await.unwrap().least_pairs(10).await.unwrap();
    BareLease::same_scripts(&redis).await.unwrap().same_script_pairs(10).await.unwrap();
    let connection = connect(&redis).await.unwrap();
    let key = format!("{}polled", redis.key_prefix);
    let mut one = PolledLock::open(&connection, key.clone(), 1).await.unwrap();
    let mut other = PolledLock::open(&connection, key, 2).await.unwrap();
    let end = tokio::time::Instant::now() + Duration::from_millis(100);
    let value = one.take(end).await.unwrap().unwrap();
    assert_eq!(other.take(end).await.unwrap(), None, "somebody has it until the end");
    assert!(!other.give_back("another").await.unwrap());
    assert!(one.give_back(&value).await.unwrap());
}
