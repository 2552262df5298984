//! What is due is dispatched once, whoever looks and whatever is away.

use std::collections::BTreeSet;
use std::time::Duration;

use millrace_scheduler::policy::Overlap;
use millrace_scheduler::{Dispatcher, OccurrenceState, Role, TaskForm, TaskId};
use millrace_testkit::{FaultProxy, ports, wait_until};

use crate::harness::{BY, Bench, PATIENCE, hourly, leave_a_note};

const MINUTE: Duration = Duration::from_secs(60);

async fn role(dispatcher: &Dispatcher, expected: Role) {
    wait_until(&format!("the dispatcher is {expected:?}"), PATIENCE, || async {
        let role = dispatcher.health().status().role;
        if role == expected { Ok(()) } else { Err(role) }
    })
    .await;
}

#[tokio::test]
async fn two_dispatchers_that_race_without_a_lease_dispatch_each_occurrence_once() {
    const ROUNDS: usize = 20;
    const TASKS: usize = 30;
    let bench = Bench::new().await;
    let [nobody] = ports::free().unwrap();
    // Small looks, so that the two meet in the middle of the tasks again and again.
    let one = bench.dispatcher_at(nobody, &[("BATCH", "4")]);
    let other = bench.dispatcher_at(nobody, &[("BATCH", "3")]);
    let schedules = bench.schedules(&one);
    for number in 0..TASKS {
        let mut form = TaskForm::every(Duration::from_secs(1));
        form.overlap = Overlap::AllowAll;
        bench.quiet_task(&schedules, &format!("race-{number}"), form).await;
    }
    for _ in 0..ROUNDS {
        bench
            .execute(
                "update scheduled_task set look_at = now(), next_at = now() - interval '2 seconds'",
            )
            .await;
        let (first, second) = tokio::join!(one.dispatch_once(), other.dispatch_once());
        first.unwrap();
        second.unwrap();
    }
    let messages = bench.take_messages().await;
    let ids: BTreeSet<_> = messages.iter().map(|message| message.id).collect();
    assert_eq!(messages.len(), ids.len(), "no occurrence has two messages");
    let rows = bench.count("select count(*) from task_occurrence where state = 'dispatched'").await;
    assert_eq!(i64::try_from(messages.len()).unwrap(), rows, "each occurrence has its message");
    assert!(messages.len() >= TASKS * ROUNDS, "{} were dispatched", messages.len());
}

#[tokio::test]
async fn only_the_holder_of_the_lease_dispatches_and_the_next_one_takes_over_when_it_stops() {
    let bench = Bench::new().await;
    let (one, other) = (bench.dispatcher(&[]), bench.dispatcher(&[]));
    let stop_one = bench.stop.child_token();
    bench.tasks.spawn("one", one.clone().run(stop_one.clone()));
    role(&one, Role::Leading).await;
    bench.tasks.spawn("other", other.clone().run(bench.stop.clone()));
    assert_eq!(bench.dispatcher(&[]).dispatch_once().await.unwrap(), None);
    assert_eq!(other.health().status().role, Role::Standby);

    stop_one.cancel();
    role(&other, Role::Leading).await;
    role(&one, Role::Standby).await;
    let schedules = bench.schedules(&other);
    let task = bench.quiet_task(&schedules, "taken-over", hourly()).await;
    schedules.trigger(&task, BY).await.unwrap();
    bench.wait_for(&[(OccurrenceState::Dispatched, 1)]).await;
    let fenced = bench.count("select count(*) from task_occurrence where fence is not null").await;
    assert_eq!(fenced, 1, "the row tells the token that it was dispatched under");
}

#[tokio::test]
async fn a_token_that_the_sink_refuses_costs_a_new_lease_and_no_occurrence() {
    let bench = Bench::new().await;
    let dispatcher = bench.dispatcher(&[]);
    let schedules = bench.schedules(&dispatcher);
    let task = bench.quiet_task(&schedules, "fenced", hourly()).await;
    bench.tasks.spawn("dispatcher", dispatcher.clone().run(bench.stop.clone()));
    role(&dispatcher, Role::Leading).await;
    // Redis was wiped, say, and has given others higher tokens in between.
    bench
        .execute(
            "insert into lease_fence (name, fence, holder) \
             values ('dispatch-tasks', 9::bigint << 32, 'somebody') \
             on conflict (name) do update set fence = excluded.fence, holder = excluded.holder",
        )
        .await;
    schedules.trigger(&task, BY).await.unwrap();
    bench.wait_for(&[(OccurrenceState::Dispatched, 1)]).await;
    let higher = "select count(*) from task_occurrence where fence > 9::bigint << 32";
    assert_eq!(bench.count(higher).await, 1, "dispatched under a token above the refused one");
}

#[tokio::test]
async fn nothing_is_lost_between_the_commit_and_the_publishing() {
    let bench = Bench::new().await;
    let dispatcher = bench.dispatcher(&[]);
    let schedules = bench.schedules(&dispatcher);
    let task = bench.quiet_task(&schedules, "crash", hourly()).await;
    schedules.trigger(&task, BY).await.unwrap();
    assert_eq!(dispatcher.dispatch_once().await.unwrap(), Some(1));
    let worker = bench.worker(&dispatcher).task("crash", leave_a_note).build();
    // The process that dispatched is gone; nobody has published anything yet.
    drop((schedules, dispatcher));
    assert_eq!(bench.waiting_messages().await, 1);

    bench.working(worker);
    bench.relaying();
    bench.wait_for(&[(OccurrenceState::Done, 1)]).await;
    assert_eq!(bench.effects().await, ["done"]);
    assert_eq!(bench.published().await.len(), 1);
}

#[tokio::test]
async fn after_an_absence_the_late_ones_are_made_up_for_and_the_missed_ones_are_told() {
    let bench = Bench::new().await;
    let dispatcher = bench.dispatcher(&[]);
    let schedules = bench.schedules(&dispatcher);
    let mut form = TaskForm::every(Duration::from_secs(10));
    form.overlap = Overlap::AllowAll;
    let task = bench.quiet_task(&schedules, "absent", form).await;
    let first = bench.due_since(&task, 10 * MINUTE).await;
    dispatcher.dispatch_once().await.unwrap();

    let history = schedules.history(&task, None, Some(OccurrenceState::Missed), 10).await.unwrap();
    let [missed] = &history.items[..] else { panic!("{history:?}") };
    assert_eq!(missed.instant, first);
    let span = missed.missed.unwrap();
    assert!((53..=55).contains(&span.count.unwrap()), "{span:?}");
    let late = bench.take_messages().await.len();
    assert!((6..=7).contains(&late), "{late} within the window of a minute");
    let next = schedules.get(&task).await.unwrap().next_at.unwrap();
    let ahead = sqlx::query_scalar::<_, bool>("select $1 > now()").bind(next);
    assert!(ahead.fetch_one(&bench.owner).await.unwrap());
}

#[tokio::test]
async fn a_worker_that_stands_still_in_its_transaction_puts_off_its_own_task_and_no_other() {
    let bench = Bench::new().await;
    let dispatcher = bench.dispatcher(&[]);
    let schedules = bench.schedules(&dispatcher);
    let mut form = hourly();
    form.overlap = Overlap::TerminateOther;
    let still = bench.quiet_task(&schedules, "still", form).await;
    let free = bench.quiet_task(&schedules, "free", hourly()).await;
    schedules.trigger(&still, BY).await.unwrap();
    dispatcher.dispatch_once().await.unwrap();
    let mut holder = bench.owner.begin().await.unwrap();
    sqlx::query("select 1 from task_occurrence where task = 'still' for update")
        .execute(&mut *holder)
        .await
        .unwrap();

    schedules.trigger(&still, BY).await.unwrap();
    schedules.trigger(&free, BY).await.unwrap();
    assert_eq!(dispatcher.dispatch_once().await.unwrap(), Some(1), "only the free one");
    bench.wait_for(&[(OccurrenceState::Dispatched, 2), (OccurrenceState::Waiting, 1)]).await;
    holder.rollback().await.unwrap();
    wait_until("the later one has taken the place", PATIENCE, || async {
        dispatcher.dispatch_once().await.unwrap();
        bench.states().await.get("terminated") == Some(&1)
    })
    .await;
    bench.wait_for(&[(OccurrenceState::Dispatched, 2), (OccurrenceState::Terminated, 1)]).await;
}

#[tokio::test]
async fn without_redis_dispatch_goes_on_or_pauses_as_the_settings_say() {
    let bench = Bench::new().await;
    let [nobody] = ports::free().unwrap();
    let ttl = ("LEASE_TTL", "1s");
    let waits = bench.dispatcher_at(nobody, &[ttl, ("WITHOUT_REDIS", "pause")]);
    let goes_on = bench.dispatcher_at(nobody, &[ttl, ("WITHOUT_REDIS", "database")]);
    let schedules = bench.schedules(&goes_on);
    let task = bench.quiet_task(&schedules, "away", hourly()).await;
    schedules.trigger(&task, BY).await.unwrap();

    bench.tasks.spawn("waits", waits.clone().run(bench.stop.clone()));
    role(&waits, Role::WithoutRedis).await;
    assert!(!waits.health().status().healthy());
    assert_eq!(bench.waiting_messages().await, 0);
    assert!(waits.dispatch_once().await.is_err());

    bench.tasks.spawn("goes-on", goes_on.clone().run(bench.stop.clone()));
    role(&goes_on, Role::Unleased).await;
    bench.wait_for(&[(OccurrenceState::Dispatched, 1)]).await;
    assert!(goes_on.health().status().healthy());
    let unleased = bench.count("select count(*) from task_occurrence where fence is null").await;
    assert_eq!(unleased, 1);
}

#[tokio::test]
async fn a_holder_that_loses_redis_goes_on_without_it_and_leads_again_when_it_is_back() {
    let bench = Bench::new().await;
    let proxy = FaultProxy::start(bench.stack.addresses().redis_port).unwrap();
    let dispatcher = bench.dispatcher_at(proxy.port(), &[("LEASE_TTL", "1s")]);
    let schedules = bench.schedules(&dispatcher);
    let task = bench.quiet_task(&schedules, "back-again", hourly()).await;
    bench.tasks.spawn("dispatcher", dispatcher.clone().run(bench.stop.clone()));
    role(&dispatcher, Role::Leading).await;
    proxy.cut();
    role(&dispatcher, Role::Unleased).await;
    schedules.trigger(&task, BY).await.unwrap();
    bench.wait_for(&[(OccurrenceState::Dispatched, 1)]).await;
    proxy.pass();
    role(&dispatcher, Role::Leading).await;
}

#[tokio::test]
async fn a_task_of_a_newer_release_is_left_alone_and_keeps_nobody_waiting() {
    let bench = Bench::new().await;
    let dispatcher = bench.dispatcher(&[]);
    let schedules = bench.schedules(&dispatcher);
    let strange = bench.quiet_task(&schedules, "a-strange", hourly()).await;
    let known = bench.quiet_task(&schedules, "b-known", hourly()).await;
    bench
        .execute("update scheduled_task set spec = '{\"schedule\": {\"kind\": \"moon\"}}' where id = 'a-strange'")
        .await;
    let due = bench.due_since(&strange, MINUTE / 2).await;
    bench.due_since(&known, MINUTE / 2).await;
    assert_eq!(dispatcher.dispatch_once().await.unwrap(), Some(1));
    let next = bench
        .count("select count(*) from scheduled_task where id = 'a-strange' and look_at > now()")
        .await;
    assert_eq!(next, 1);
    let kept: chrono::DateTime<chrono::Utc> =
        sqlx::query_scalar("select next_at from scheduled_task where id = 'a-strange'")
            .fetch_one(&bench.owner)
            .await
            .unwrap();
    assert_eq!(kept, due, "whoever can read it begins where nobody has been");
}

#[tokio::test]
async fn a_look_begins_about_as_many_as_a_batch_and_the_next_one_goes_on() {
    let bench = Bench::new().await;
    let dispatcher = bench.dispatcher(&[("BATCH", "10")]);
    let schedules = bench.schedules(&dispatcher);
    for number in 0..35 {
        let id: TaskId = bench.quiet_task(&schedules, &format!("many-{number}"), hourly()).await;
        bench.due_since(&id, MINUTE / 2).await;
    }
    assert_eq!(dispatcher.dispatch_once().await.unwrap(), Some(35));
    bench.wait_for(&[(OccurrenceState::Dispatched, 35)]).await;
}
