//! The verbs: what operators and releases may do to tasks, and what they are told.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use millrace_scheduler::policy::Overlap;
use millrace_scheduler::schedules::{BACKFILL_MAX, Backfill, Changed, Declared, Origin};
use millrace_scheduler::{OccurrenceKind, OccurrenceState, ScheduleError, TaskForm, TaskId};

use crate::harness::{BY, Bench, Journal, hourly, leave_a_note};

fn id(text: &str) -> TaskId {
    TaskId::parse(text).unwrap()
}

#[tokio::test]
async fn of_two_edits_at_once_one_wins_and_the_other_is_told() {
    let bench = Bench::new().await;
    let schedules = bench.schedules(&bench.dispatcher(&[]));
    let task = bench.quiet_task(&schedules, "edited", hourly()).await;
    let daily = TaskForm::cron("0 3 * * *", "Europe/Berlin");
    let weekly = TaskForm::cron("0 3 * * 1", "Europe/Berlin");
    let (one, other) = tokio::join!(
        schedules.put(&task, daily, Some(1), BY),
        schedules.put(&task, weekly, Some(1), BY),
    );
    let lost = match (&one, &other) {
        (Ok(won), Err(lost)) | (Err(lost), Ok(won)) if won.version == 2 => lost,
        both => panic!("{both:?}"),
    };
    assert!(matches!(lost, ScheduleError::Conflict { expected: 1, actual: Some(2), .. }), "{lost}");

    let again = schedules.put(&task, hourly(), None, BY).await.unwrap_err();
    assert!(matches!(again, ScheduleError::Conflict { actual: Some(2), .. }), "{again}");
    let gone = schedules.put(&id("gone"), hourly(), Some(3), BY).await.unwrap_err();
    assert!(matches!(gone, ScheduleError::Conflict { expected: 3, actual: None, .. }), "{gone}");
    let stale = schedules.remove(&task, 1, BY).await.unwrap_err();
    assert!(matches!(stale, ScheduleError::Conflict { .. }), "{stale}");
    schedules.remove(&task, 2, BY).await.unwrap();
    assert!(matches!(schedules.get(&task).await, Err(ScheduleError::Unknown { .. })));
}

#[tokio::test]
async fn a_paused_task_begins_nothing_and_goes_on_from_the_moment_it_is_resumed() {
    let bench = Bench::new().await;
    let dispatcher = bench.dispatcher(&[]);
    let schedules = bench.schedules(&dispatcher);
    let task =
        bench.quiet_task(&schedules, "paused", TaskForm::every(Duration::from_secs(1))).await;
    assert!(matches!(schedules.pause(&task, " ", None, BY).await, Err(ScheduleError::Note { .. })));
    let paused = schedules.pause(&task, "the neighbour is away", Some(1), BY).await.unwrap();
    let pause = paused.paused.unwrap();
    assert_eq!((pause.by.as_str(), pause.note.as_str()), (BY, "the neighbour is away"));
    bench.due_since(&task, Duration::from_secs(30)).await;
    assert_eq!(dispatcher.dispatch_once().await.unwrap(), Some(0));
    assert!(matches!(schedules.trigger(&task, BY).await, Err(ScheduleError::Paused { .. })));

    let before = bench.now().await;
    let resumed = schedules.resume(&task, None, BY).await.unwrap();
    assert_eq!((resumed.paused, resumed.version), (None, 3));
    let next = schedules.get(&task).await.unwrap().next_at;
    assert!(next > Some(before), "{next:?}: the half minute of the pause is not made up for");
    assert!(bench.states().await.is_empty());
}

#[tokio::test]
async fn a_backfill_is_bounded_asked_for_explicitly_and_repeats_nothing() {
    let bench = Bench::new().await;
    let dispatcher = bench.dispatcher(&[]);
    let schedules = bench.schedules(&dispatcher);
    let task = bench.quiet_task(&schedules, "backfilled", hourly()).await;
    let now = bench.now().await;
    let decade = now - TimeDelta::days(3_650);
    for max in [0, BACKFILL_MAX + 1] {
        let refused = schedules.backfill(&task, Backfill::of(decade, now, max), BY).await;
        assert!(matches!(refused, Err(ScheduleError::Limit)), "{refused:?}");
    }
    let decade = schedules.backfill(&task, Backfill::of(decade, now, BACKFILL_MAX), BY).await;
    assert!(matches!(decade, Err(ScheduleError::TooMany { max: BACKFILL_MAX })), "{decade:?}");
    let future = Backfill::of(now, now + TimeDelta::days(1), 100);
    assert!(matches!(schedules.backfill(&task, future, BY).await, Err(ScheduleError::Range)));
    assert!(bench.states().await.is_empty(), "a refusal makes nothing");

    let half_a_day = Backfill::of(now - TimeDelta::hours(12), now, 20);
    assert_eq!(schedules.backfill(&task, half_a_day, BY).await.unwrap(), 12);
    let worker = bench.worker(&dispatcher).task("backfilled", leave_a_note).build();
    for _ in 0..12 {
        assert_eq!(dispatcher.dispatch_once().await.unwrap(), Some(1), "one after another");
        bench.work(&worker).await;
    }
    bench.wait_for(&[(OccurrenceState::Done, 12)]).await;
    assert_eq!(
        schedules.backfill(&task, half_a_day, BY).await.unwrap(),
        0,
        "nothing is left to do"
    );
    let history = schedules.history(&task, None, Some(OccurrenceState::Done), 5).await.unwrap();
    assert!(history.items.iter().all(|one| one.kind == OccurrenceKind::Backfill));
    let older =
        schedules.history(&task, history.next, Some(OccurrenceState::Done), 200).await.unwrap();
    assert_eq!((history.items.len(), older.items.len(), older.next), (5, 7, None));
}

#[tokio::test]
async fn a_backfill_makes_up_for_what_was_missed() {
    let bench = Bench::new().await;
    let dispatcher = bench.dispatcher(&[]);
    let schedules = bench.schedules(&dispatcher);
    let task = bench.quiet_task(&schedules, "missed", hourly()).await;
    let next = schedules.get(&task).await.unwrap().next_at.unwrap();
    let (first, now) = (next - TimeDelta::hours(6), bench.now().await);
    let missed = sqlx::query("update scheduled_task set next_at = $1, look_at = now()").bind(first);
    missed.execute(&bench.owner).await.unwrap();
    assert_eq!(dispatcher.dispatch_once().await.unwrap(), Some(0));
    assert_eq!(bench.states().await.get("missed"), Some(&1), "one row for all of them");
    let range = Backfill { overlap: Overlap::AllowAll, ..Backfill::of(first, now, 10) };
    assert_eq!(schedules.backfill(&task, range, BY).await.unwrap(), 6);
    assert_eq!(dispatcher.dispatch_once().await.unwrap(), Some(6));
    assert_eq!(bench.states().await.get("missed"), None);
}

#[tokio::test]
async fn a_release_declares_its_tasks_and_only_the_next_release_changes_them() {
    let bench = Bench::new().await;
    let schedules = bench.schedules(&bench.dispatcher(&[]));
    let declared = |name: &str, form| Declared { id: id(name), form };
    let first = [declared("upkeep", hourly()), declared("report", hourly())];
    bench.quiet_task(&schedules, "operators-own", hourly()).await;
    schedules.declare(&first).await.unwrap();
    schedules.declare(&first).await.unwrap();
    let upkeep = schedules.get(&id("upkeep")).await.unwrap();
    assert_eq!((upkeep.origin, upkeep.version), (Origin::Code, 1), "a restart changes nothing");
    let edit = schedules.put(&id("upkeep"), hourly(), Some(1), BY).await;
    assert!(matches!(edit, Err(ScheduleError::DeclaredInCode { .. })), "{edit:?}");
    let remove = schedules.remove(&id("upkeep"), 1, BY).await;
    assert!(matches!(remove, Err(ScheduleError::DeclaredInCode { .. })), "{remove:?}");
    schedules.pause(&id("upkeep"), "by night", None, BY).await.unwrap();

    let second = [declared("upkeep", TaskForm::cron("@daily", "UTC"))];
    let (one, other) = tokio::join!(schedules.declare(&second), schedules.declare(&second));
    one.unwrap();
    other.unwrap();
    let page = schedules.list(None, 10).await.unwrap();
    let names: Vec<&str> = page.items.iter().map(|task| task.id.as_str()).collect();
    assert_eq!(names, ["operators-own", "upkeep"]);
    assert_eq!(page.items[1].version, 3);
    assert!(page.items[1].paused.is_some(), "a release doesn't end an operator's pause");
}

#[tokio::test]
async fn every_change_is_in_the_journal_and_a_look_is_not() {
    let bench = Bench::new().await;
    let journal = Arc::new(Journal::default());
    let schedules = bench.schedules_with(&bench.dispatcher(&[]), Arc::clone(&journal));
    let task = bench.quiet_task(&schedules, "noted", hourly()).await;
    schedules.put(&task, TaskForm::cron("@daily", "UTC"), Some(1), BY).await.unwrap();
    schedules.pause(&task, "why not", None, BY).await.unwrap();
    schedules.resume(&task, None, BY).await.unwrap();
    schedules.resume(&task, None, BY).await.unwrap();
    schedules.trigger(&task, BY).await.unwrap();
    let now = bench.now().await;
    let week = Backfill::of(now - TimeDelta::days(7), now, 10);
    schedules.backfill(&task, week, BY).await.unwrap();
    schedules.next(&task, 10).await.unwrap();
    schedules.history(&task, None, None, 10).await.unwrap();
    let refused = schedules.put(&task, hourly(), Some(1), BY).await;
    assert!(refused.is_err());
    schedules.remove(&task, 4, BY).await.unwrap();

    let changes = journal.0.lock().unwrap().clone();
    let words: Vec<&str> = changes.iter().map(|change| change.what.as_str()).collect();
    assert_eq!(
        words,
        ["made", "edited", "paused", "resumed", "triggered", "backfilled", "removed"]
    );
    assert!(changes.iter().all(|change| change.by == BY.into() && change.task == task));
    let Changed::Edited { before, after } = &changes[1].what else { panic!("{changes:?}") };
    assert_eq!(before.as_deref(), Some(&hourly()));
    assert_eq!(**after, TaskForm::cron("@daily", "UTC"));
    let ended = bench.states().await;
    assert_eq!(ended.keys().collect::<Vec<_>>(), ["cancelled"], "what waited ended with the task");
}

#[tokio::test]
async fn bad_forms_are_refused_with_everything_that_is_wrong_and_a_dry_run_keeps_nothing() {
    let bench = Bench::new().await;
    let schedules = bench.schedules(&bench.dispatcher(&[]));
    let mut bad = TaskForm::cron("0 0 30 2 *", "Mars/X");
    bad.payload = serde_json::json!("x".repeat(20_000));
    let refused = schedules.put(&id("bad"), bad.clone(), None, BY).await.unwrap_err().to_string();
    for part in ["never comes true", "Mars/X", "payload"] {
        assert!(refused.contains(part), "{part} is missing in {refused}");
    }
    assert!(schedules.dry_run(bad, 3).await.is_err());
    let zero = schedules.dry_run(TaskForm::every(Duration::ZERO), 3).await;
    assert!(matches!(zero, Err(ScheduleError::Spec(_))), "{zero:?}");

    let instants = schedules.dry_run(TaskForm::cron("0 0 1 1 *", "UTC"), 10).await.unwrap();
    assert_eq!(instants.len(), 10);
    assert!(instants.is_sorted());
    for count in [0, 101] {
        let refused = schedules.dry_run(hourly(), count).await;
        assert!(matches!(refused, Err(ScheduleError::Forecast)), "{refused:?}");
    }
    assert!(schedules.list(None, 10).await.unwrap().items.is_empty());
}
