//! Every guarantee taken away once: the checker must say which one is missing. The same drill with the guarantee in place
//! must end well, or what was found proves nothing.
//!
//! Nothing here depends on how fast the machine is: what must be in hand when a member is killed is held there, and a
//! fault strikes when the state that it is meant for was seen.

use std::future::Future;

use futures::future::join;
use millrace_checker::{AnomalyName, Report};
use millrace_drills::arena::{Arena, Member, Shape};
use millrace_drills::fate::Fates;
use millrace_drills::member::SinkKind;
use millrace_drills::parcel::{GROUP, NOTICES, PARCELS};
use millrace_runtime::sabotage::{CrashPoint, Switch};
use millrace_testkit::wait_until;
use sqlx::PgPool;

use crate::harness::{PATIENCE, arena, finish_badly, finish_well};

/// Keys of a drill, and so what a member has in hand when it holds all.
const LANES: usize = 8;

/// What a member of the drill is started with.
type Arms = &'static [&'static str];

/// Runs the drill with the switch and without it.
async fn caught<F>(switch: Switch, expected: &[AnomalyName], drill: impl Fn(Arms) -> F)
where
    F: Future<Output = Report>,
{
    let armed: Arms = Vec::leak(vec!["--sabotage", switch.name()]);
    let (broken, _well) = join(drill(armed), drill(&[])).await;
    for name in expected {
        assert!(broken.has(*name), "{switch:?}: {name} was not found:\n{broken}");
    }
    assert!(!broken.ok());
}

fn with<'a>(arms: Arms, more: &[&'a str]) -> Vec<&'a str> {
    arms.iter().copied().chain(more.iter().copied()).collect()
}

/// With the guarantee in place, the drill must end well.
async fn finish(arms: Arms, arena: &Arena<'_>, members: Vec<Member>) -> Report {
    match arms.is_empty() {
        true => finish_well(arena, members).await,
        false => finish_badly(arena, members).await,
    }
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
    // Its start and the end of the other's session are not yet the quiet that ends a drill.
    arena.begun(Some(&second.name), 1, PATIENCE).await.unwrap();
    finish(arms, arena, vec![second]).await
}

fn dying() -> Fates {
    Fates { permanent_per_mille: 300, ..Fates::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn offsets_that_are_stored_before_the_handler_is_done_lose_records() {
    let expected = [AnomalyName::PrematureCommit, AnomalyName::LostWrite];
    caught(Switch::StoreOffsetEarly, &expected, |arms| async move {
        let arena = arena(Shape { partitions: 1, ..Shape::new(SinkKind::Notes) }).await;
        let hold = arena.hold_from(0);
        let first = arena.start_holding(&hold, arms).unwrap();
        arena.feed(80).await.unwrap();
        arena.begun(Some(&first.name), LANES, PATIENCE).await.unwrap();
        // Nothing is done, so whatever is committed is committed early.
        if !arms.is_empty() {
            arena.committed(PATIENCE).await.unwrap();
        }
        arena.kill(first).unwrap();
        let second = arena.start(&[]).unwrap();
        finish(arms, &arena, vec![second]).await
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
        arena.begun(Some(&second.name), 1, PATIENCE).await.unwrap();
        finish(arms, &arena, vec![second]).await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_epoch_check_a_stale_owner_writes() {
    caught(Switch::DropEpochCheck, &[AnomalyName::StaleEpoch], |arms| async move {
        let arena = arena(Shape::new(SinkKind::Epochs)).await;
        let hold = arena.hold_from(12);
        let first = arena.start_holding(&hold, arms).unwrap();
        arena.feed(150).await.unwrap();
        // Twelve of each partition, and what is held of each key.
        arena.begun(Some(&first.name), 24 + LANES, PATIENCE).await.unwrap();
        let frozen = arena.freeze(&first).await.unwrap();
        let second = arena.start(arms).unwrap();
        // More than it can have in hand at once: it has written, under the higher epoch.
        arena.begun(Some(&second.name), 5 * LANES, PATIENCE).await.unwrap();
        hold.release().unwrap();
        arena.past_session(&frozen).await;
        arena.thaw(&first, frozen);
        finish(arms, &arena, vec![first, second]).await
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
        // Giving back may take so long that what is begun meanwhile is seen to be begun late, however slow the machine.
        let kafka = ["SESSION_TIMEOUT=12s", "REVOKE_TIMEOUT=8s"].map(str::to_owned).to_vec();
        let fates = Fates { work_ms: 100, ..Fates::default() };
        let arena = arena(Shape { fates, kafka, ..Shape::new(SinkKind::Notes) }).await;
        let hold = arena.hold_from(8);
        let first = arena.start_holding(&hold, arms).unwrap();
        arena.feed(200).await.unwrap();
        arena.begun(Some(&first.name), 16 + LANES, PATIENCE).await.unwrap();
        let second = arena.start(&[]).unwrap();
        arena.gave_back(&first.name, PATIENCE).await.unwrap();
        hold.release().unwrap();
        finish(arms, &arena, vec![first, second]).await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_lanes_a_keys_records_overtake_each_other() {
    caught(Switch::IgnoreKeyOrder, &[AnomalyName::OrderPerKey], |arms| async move {
        let keys: u8 = 4;
        let arena = arena(Shape { keys: keys.into(), ..Shape::new(SinkKind::Inbox) }).await;
        let hold = arena.hold_from(0);
        let member = arena.start_holding(&hold, arms).unwrap();
        arena.feed(120).await.unwrap();
        // More than there are keys: two of one key are in hand at once.
        let more = usize::from(!arms.is_empty());
        arena.begun(Some(&member.name), usize::from(keys) + more, PATIENCE).await.unwrap();
        hold.release().unwrap();
        finish(arms, &arena, vec![member]).await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_map_without_its_holes_loses_what_was_in_hand() {
    caught(Switch::DropOffsetMapHoles, &[AnomalyName::LostWrite], |arms| async move {
        let arena = arena(Shape { partitions: 1, ..Shape::new(SinkKind::Notes) }).await;
        // The committed offset stays at the first of them, and the second is a hole in the map above it.
        let hold = arena.hold(0..2);
        let first = arena.start_holding(&hold, arms).unwrap();
        arena.feed(120).await.unwrap();
        wait_until("a map is committed", PATIENCE, || async {
            let committed = arena.committed_at(0).await;
            committed.filter(|committed| !committed.metadata.is_empty())
        })
        .await;
        arena.kill(first).unwrap();
        let second = arena.start(&[]).unwrap();
        finish(arms, &arena, vec![second]).await
    })
    .await;
}

/// The database takes no dead letters for a while, and counts those that it refused: a sequence forgets nothing when
/// the statement that moved it fails.
async fn refuse_letters(pool: &PgPool) {
    let statements = [
        "create sequence refused",
        "create function refuse() returns trigger language plpgsql security definer as \
         'begin perform nextval(''public.refused''); raise exception ''no letters today''; end'",
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
        wait_until("letters were refused", PATIENCE, || async {
            let count = "select last_value from refused where is_called and last_value >= 4";
            let refused = sqlx::query_scalar::<_, i64>(count).fetch_optional(&pool).await;
            refused.map_err(|error| error.to_string())?.ok_or_else(|| "fewer".to_owned())
        })
        .await;
        sqlx::query("drop trigger refuse on inbox").execute(&pool).await.unwrap();
        finish(arms, &arena, vec![member]).await
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
        finish(arms, &arena, vec![member]).await
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
        arena.kill(first).unwrap();
        arena.make_late_topics().await;
        let second = arena.start(&[]).unwrap();
        finish(arms, &arena, vec![second]).await
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
