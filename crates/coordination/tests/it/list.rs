//! What operators are shown.

use millrace_coordination::{HeldStatus, SinkStatus};
use millrace_runtime::Tasks;
use millrace_testkit::{Stack, wait_until};

use crate::harness::{Bench, LONG, PATIENCE};

#[tokio::test]
async fn the_list_shows_holder_token_age_waiters_and_what_the_sink_has_seen() {
    let bench = Bench::new().await;
    let (ann, ben) = (bench.leases("ann"), bench.leases("ben"));
    assert!(ann.list().await.leases.is_empty());
    let lease = ann.acquire("expire", LONG).await.unwrap().unwrap();
    let token = lease.token();
    let free = ann.acquire("report", LONG).await.unwrap().unwrap();
    assert!(free.release().await.unwrap());
    let guard = lease.keep(&Tasks::new(), None);
    let fenced = guard.run(async |fenced| fenced).await.unwrap();
    fenced.begin(&bench.app).await.unwrap().commit().await.unwrap();

    let look = async {
        wait_until("ben waits", PATIENCE, || async {
            let list = ann.list().await;
            assert!(list.redis && list.database);
            if list.leases[0].waiters == 1 { Ok(()) } else { Err(list) }
        })
        .await;
        ann.list().await.leases
    };
    let leases = tokio::select! {
        _ = ben.acquire_within("expire", LONG, LONG) => panic!("it is held"),
        leases = look => leases,
    };
    let [expire, report] = leases.try_into().unwrap();
    assert_eq!((expire.name.as_str(), expire.waiters), ("expire", 1));
    let HeldStatus { holder, token: held, age, remaining } = expire.held.unwrap();
    assert_eq!((holder.as_str(), held), ("ann", token));
    assert!(age < LONG && remaining <= LONG && !remaining.is_zero(), "{age:?} {remaining:?}");
    assert_eq!(expire.sink, Some(SinkStatus { token, holder: "ann".into() }));
    assert_eq!((report.name.as_str(), report.held, report.sink), ("report", None, None));

    // Another process knows only what has written.
    let names: Vec<String> =
        bench.process("cid").list().await.leases.into_iter().map(|lease| lease.name).collect();
    assert_eq!(names, ["expire"]);
}

#[tokio::test]
async fn without_redis_the_list_says_so_and_shows_the_sinks() {
    let stack = Stack::private().await.unwrap();
    let bench = Bench::on(&stack).await;
    let leases = bench.leases("ann");
    let guard = leases.acquire("expire", LONG).await.unwrap().unwrap().keep(&Tasks::new(), None);
    let fenced = guard.run(async |fenced| fenced).await.unwrap();
    fenced.begin(&bench.app).await.unwrap().commit().await.unwrap();
    stack.redis().stop().await.unwrap();
    let list = leases.list().await;
    assert!(!list.redis && list.database);
    let [expire] = list.leases.try_into().unwrap();
    assert_eq!(expire.held, None);
    assert_eq!(expire.sink.unwrap().token, guard.token());
}
