//! Every guarantee taken away once: the checker must say which one is missing. The same drill with the guarantee in place
//! must end well, or what was found proves nothing.

use std::future::Future;

use futures::future::join;
use millrace_checker::{AnomalyName, Report};
use millrace_drills::arena::{Arena, Shape};
use millrace_drills::fate::Fates;
use millrace_drills::member::SinkKind;
use millrace_drills::parcel::{GROUP, NOTICES, PARCELS};
use millrace_runtime::sabotage::{CrashPoint, Switch};
use millrace_testkit::wait_until;
use sqlx::PgPool;

use crate::harness::{PATIENCE, arena, finish};

/// What a member of the drill is started with.
type Arms = &'static [&'static str];

/// Runs the drill with the switch and without it.
async fn caught<F>(switch: Switch, expected: &[AnomalyName], drill: impl Fn(Arms) -> F)
where
    F: Future<Output = Report>,
{
    let armed: Arms = Vec::leak(vec!["--sabotage", switch.name()]);
    let (broken, well) = join(drill(armed), drill(&[])).await;
    for name in expected {
        assert!(broken.has(*name), "{switch:?}: {name} was not found:\n{broken}");
    }
    assert!(!broken.ok());
    assert!(well.ok(), "without {switch:?}:\n{well}");
}

fn with<'a>(arms: Arms, more: &[&'a str]) -> Vec<&'a str> {
    arms.iter().copied().chain(more.iter().copied()).collect()
}

fn at(point: CrashPoint, pass: u32) -> String {
    format!("{}:{pass}", point.name())
}

/// The armed member dies at the crash point, and one without arms comes after it.
async fn crash(arena: &Arena<'_>, arms: Arms, records: usize, point: String) -> Report {
    let first = arena.start(&with(arms, &["--sabotage", &point])).unwrap();
    arena.feed(records).await.unwrap();
    arena.crashed(first, PATIENCE).await.unwrap();
    let second = arena.start(&[]).unwrap();
    finish(arena, vec![second]).await.1
}

fn working(work_ms: u64) -> Fates {
    Fates { work_ms, ..Fates::default() }
}

fn dying() -> Fates {
    Fates { permanent_per_mille: 300, work_ms: 5, ..Fates::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn offsets_that_are_stored_before_the_handler_is_done_lose_records() {
    let expected = [AnomalyName::PrematureCommit, AnomalyName::LostWrite];
    caught(Switch::StoreOffsetEarly, &expected, |arms| async move {
        let shape = Shape { fates: working(300), ..Shape::new(SinkKind::Notes) };
        let arena = arena(Shape { partitions: 1, ..shape }).await;
        let first = arena.start(arms).unwrap();
        arena.feed(80).await.unwrap();
        arena.committed(PATIENCE).await.unwrap();
        arena.kill(first);
        let second = arena.start(&[]).unwrap();
        finish(&arena, vec![second]).await.1
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_inbox_a_record_takes_effect_twice() {
    caught(Switch::SkipInbox, &[AnomalyName::DoubleEffect], |arms| async move {
        let arena = arena(Shape::new(SinkKind::Inbox)).await;
        let crash = at(CrashPoint::AfterStateCommit, 20);
        let first = arena.start(&with(arms, &["--sabotage", &crash])).unwrap();
        arena.feed(100).await.unwrap();
        arena.crashed(first, PATIENCE).await.unwrap();
        let second = arena.start(arms).unwrap();
        finish(&arena, vec![second]).await.1
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_epoch_check_a_stale_owner_writes() {
    caught(Switch::DropEpochCheck, &[AnomalyName::StaleEpoch], |arms| async move {
        let arena = arena(Shape { fates: working(150), ..Shape::new(SinkKind::Epochs) }).await;
        let first = arena.start(arms).unwrap();
        arena.feed(250).await.unwrap();
        arena.begun(Some(&first.name), 24, PATIENCE).await.unwrap();
        let frozen = arena.freeze(&first);
        let second = arena.start(arms).unwrap();
        arena.begun(Some(&second.name), 40, PATIENCE).await.unwrap();
        arena.thaw(&first, frozen);
        finish(&arena, vec![first, second]).await.1
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_that_are_published_before_their_commit_may_belong_to_nothing() {
    caught(Switch::PublishBeforeCommit, &[AnomalyName::AbortedRead], |arms| async move {
        let arena = arena(Shape::new(SinkKind::Inbox)).await;
        crash(&arena, arms, 60, at(CrashPoint::BeforeStateCommit, 10)).await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_ignores_a_revocation_handles_what_is_anothers() {
    caught(Switch::IgnoreRevoke, &[AnomalyName::HandledAfterRevoke], |arms| async move {
        let arena = arena(Shape { fates: working(100), ..Shape::new(SinkKind::Notes) }).await;
        let first = arena.start(arms).unwrap();
        arena.feed(400).await.unwrap();
        arena.begun(Some(&first.name), 16, PATIENCE).await.unwrap();
        let second = arena.start(&[]).unwrap();
        finish(&arena, vec![first, second]).await.1
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_lanes_a_keys_records_overtake_each_other() {
    caught(Switch::IgnoreKeyOrder, &[AnomalyName::OrderPerKey], |arms| async move {
        let fates = Fates { slow_per_mille: 300, slow_ms: 60, work_ms: 2, ..Fates::default() };
        let arena = arena(Shape { fates, keys: 4, ..Shape::new(SinkKind::Inbox) }).await;
        let member = arena.start(arms).unwrap();
        arena.feed(120).await.unwrap();
        finish(&arena, vec![member]).await.1
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_map_without_its_holes_loses_what_was_in_hand() {
    caught(Switch::DropOffsetMapHoles, &[AnomalyName::LostWrite], |arms| async move {
        let shape = Shape { fates: working(60), ..Shape::new(SinkKind::Notes) };
        let arena = arena(Shape { partitions: 1, ..shape }).await;
        crash(&arena, arms, 120, at(CrashPoint::AfterOffsetCommit, 3)).await
    })
    .await;
}

/// The database takes no dead letters for a while.
async fn refuse_letters(pool: &PgPool) {
    let statements = [
        "create function refuse() returns trigger language plpgsql as \
         'begin raise exception ''no letters today''; end'",
        "create trigger refuse before insert on inbox for each row \
         when (new.outcome = 'dead') execute function refuse()",
    ];
    for statement in statements {
        sqlx::query(statement).execute(pool).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_that_the_database_refused_and_that_counts_as_kept_is_lost() {
    caught(Switch::SettleFailedLetter, &[AnomalyName::LostWrite], |arms| async move {
        let arena = arena(Shape { fates: dying(), ..Shape::new(SinkKind::Inbox) }).await;
        let pool = arena.owner_pool().unwrap();
        refuse_letters(&pool).await;
        let member = arena.start(arms).unwrap();
        arena.feed(60).await.unwrap();
        arena.given_up(4, PATIENCE).await.unwrap();
        // Committed offsets show that the first letters' fate is settled, one way or the other.
        arena.committed(PATIENCE).await.unwrap();
        sqlx::query("drop trigger refuse on inbox").execute(&pool).await.unwrap();
        finish(&arena, vec![member]).await.1
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_that_the_broker_refused_and_that_counts_as_published_is_lost() {
    caught(Switch::SettleFailedLetter, &[AnomalyName::LostWrite], |arms| async move {
        let late_topics = vec![PARCELS.dead_letter(GROUP)];
        let shape = Shape { fates: dying(), late_topics, ..Shape::new(SinkKind::Notes) };
        let arena = arena(shape).await;
        let member = arena.start(arms).unwrap();
        arena.feed(60).await.unwrap();
        wait_until("a letter is refused", PATIENCE, || async {
            let output = member.process.output();
            output.contains("letters were not published").then_some(()).ok_or(output)
        })
        .await;
        arena.make_late_topics().await;
        finish(&arena, vec![member]).await.1
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outbox_row_that_is_deleted_before_its_acknowledgement_is_lost() {
    caught(Switch::DeleteBeforeAck, &[AnomalyName::LostWrite], |arms| async move {
        let late_topics = vec![NOTICES];
        let arena = arena(Shape { late_topics, ..Shape::new(SinkKind::Inbox) }).await;
        let pool = arena.owner_pool().unwrap();
        let first = arena.start(arms).unwrap();
        arena.feed(30).await.unwrap();
        wait_until("all took effect and the relay has tried", PATIENCE, || async {
            let count = "select (select count(*) from effects), (select count(*) from outbox)";
            let (effects, rows): (i64, i64) =
                sqlx::query_as(count).fetch_one(&pool).await.map_err(|error| error.to_string())?;
            let tried = arms.is_empty() || rows < effects;
            if effects == 30 && tried { Ok(()) } else { Err(format!("{effects}, {rows}")) }
        })
        .await;
        // Whatever it still has in its queue dies with it.
        arena.kill(first);
        arena.make_late_topics().await;
        let second = arena.start(&[]).unwrap();
        finish(&arena, vec![second]).await.1
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_outside_the_transaction_of_their_offset_come_twice() {
    caught(Switch::NoTransaction, &[AnomalyName::DoubleLetter], |arms| async move {
        let arena = arena(Shape { fates: dying(), ..Shape::new(SinkKind::Notes) }).await;
        crash(&arena, arms, 60, at(CrashPoint::AfterPublish, 1)).await
    })
    .await;
}
