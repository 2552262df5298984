//! Leases on one Redis that is cut off one way, killed without a copy, or back with an older one.

use std::time::Duration;

use millrace_testkit::{Redis, Way};
use tokio::time::{Instant, timeout};

use crate::harness::{LONG, PATIENCE, impatient};
use crate::sink::{Denied, Sink, WORK};

#[tokio::test]
async fn a_holder_that_is_cut_off_one_way_stops_before_another_may_begin() {
    // Side by side: each waits for the end of a lease.
    tokio::join!(
        Box::pin(a_cut_off_holder_stops(Way::ToServer)),
        Box::pin(a_cut_off_holder_stops(Way::ToClient)),
    );
}

async fn a_cut_off_holder_stops(way: Way) {
    // Longer than a slow machine takes from the grant to the first write.
    const TTL: Duration = Duration::from_secs(4);
    let (redis, sink) = (Redis::private().await.unwrap(), Sink::new().await);
    let ann = sink.holder(&impatient(sink.single(redis.proxy().port())), "ann");
    let ben = sink.holder(&sink.single(redis.port()), "ben");
    let cut_off = sink.keep(sink.acquired(&ann, TTL).await);
    assert_eq!(sink.write(&cut_off).await, Ok(()));

    redis.proxy().freeze(way);
    let lost = cut_off.lost();
    let (stopped, held) = tokio::join!(
        async {
            timeout(PATIENCE, lost.cancelled()).await.unwrap();
            Instant::now()
        },
        async {
            let held = sink.acquired(&ben, LONG).await;
            (Instant::now(), sink.keep(held))
        }
    );
    let (began, held) = held;
    assert!(stopped < began, "{way:?}: ann's work ended {:?} late", stopped - began);
    assert_eq!(sink.write(&held).await, Ok(()));
    assert_eq!(sink.write(&cut_off).await, Err(Denied::Lost));

    // What was held back comes now, and changes nothing.
    redis.proxy().pass();
    drop(cut_off);
    assert!(sink.answered(&ann).await.is_none(), "{way:?}: it is ben's");
    assert_eq!(sink.write(&held).await, Ok(()));
    held.release().await;
    sink.turn(&ann).await.release().await;
    sink.tokens().await;
}

#[tokio::test]
async fn an_acquisition_whose_question_or_answer_hung_blocks_nobody_for_longer_than_its_lease() {
    const TTL: Duration = Duration::from_secs(1);
    for way in [Way::ToServer, Way::ToClient] {
        let (redis, sink) = (Redis::private().await.unwrap(), Sink::new().await);
        let ann = sink.holder(&impatient(sink.single(redis.proxy().port())), "ann");
        let ben = sink.holder(&sink.single(redis.port()), "ben");
        sink.turn(&ann).await.release().await;
        redis.proxy().freeze(way);
        ann.acquire(WORK, TTL).await.unwrap_err();
        redis.proxy().pass();
        let asked = Instant::now();
        let held = sink.turn(&ben).await;
        // Every other lease here lasts half a minute.
        assert!(asked.elapsed() < 6 * TTL, "{way:?}: {:?}", asked.elapsed());
        assert_eq!(sink.write(&held).await, Ok(()));
        held.release().await;
        sink.turn(&ann).await.release().await;
        sink.tokens().await;
    }
}

#[tokio::test]
async fn tokens_rise_whatever_redis_forgets_and_who_held_before_is_refused() {
    let (redis, sink) = (Redis::private().await.unwrap(), Sink::new().await);
    let settings = sink.single(redis.port());
    let (ann, ben) = (sink.holder(&settings, "ann"), sink.holder(&settings, "ben"));
    sink.turn(&ann).await.release().await;
    redis.snapshot().await.unwrap();
    for forgets in ["what came after its copy", "everything at once", "everything by its death"] {
        sink.turn(&ann).await.release().await;
        let lost = sink.turn(&ann).await;
        match forgets {
            "what came after its copy" => {
                redis.kill();
                redis.start().await.unwrap();
            }
            "everything at once" => redis.flush().await.unwrap(),
            _ => {
                redis.kill();
                redis.start_empty().await.unwrap();
            }
        }
        let held = sink.turn(&ben).await;
        assert!(held.token().incarnation() > lost.token().incarnation(), "{forgets}");
        assert_eq!(sink.write(&lost).await, Err(Denied::Refused), "{forgets}");
        assert_eq!(sink.write(&held).await, Ok(()));
        held.release().await;
        drop(lost);
    }
    sink.tokens().await;
}
