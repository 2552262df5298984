//! One lease, a Redis of its own, and holders that do what they are told.

use millrace_checker::leases::{LeaseNote, Write};
use millrace_drills::leases::ground::{Ground, Holder, Referee};
use millrace_testkit::{Redis, Stack, wait_until};

use crate::harness::PATIENCE;

pub(crate) fn seed() -> u64 {
    // Naming the binary makes cargo build it; the conductor takes it from this program's own target directory.
    let built = std::path::Path::new(env!("CARGO_BIN_EXE_lease-drill"));
    assert!(built.is_file(), "{} was not built", built.display());
    let seed = uuid::Uuid::now_v7().as_u64_pair().1 % 1_000_000;
    println!("seed {seed}");
    seed
}

pub(crate) async fn ground() -> Ground {
    let referee = Referee::Single(Redis::private().await.unwrap());
    Ground::open(Stack::shared().await, referee, seed(), 1).await.unwrap()
}

/// A holder with some guarantee taken away, or none.
pub(crate) fn start(ground: &Ground, arms: &[&str], habits: &[&str]) -> Holder {
    let all: Vec<&str> = arms.iter().chain(habits).copied().collect();
    ground.start(&all).unwrap()
}

/// Waits until a holder has noted such a thing.
pub(crate) async fn noted(ground: &Ground, holder: &Holder, wanted: fn(&LeaseNote) -> bool) -> i64 {
    wait_until(&format!("{} notes it", holder.name), PATIENCE, || async {
        let events = ground.events().map_err(|error| format!("{error:?}"))?;
        let mut own = events.iter().filter(|event| event.by == holder.name);
        let found = own.find(|event| wanted(&event.what)).map(|event| event.at_us);
        found.ok_or_else(|| holder.process.output())
    })
    .await
}

/// Waits until a holder has proven its token for the first time.
pub(crate) async fn opened(ground: &Ground, holder: &Holder) {
    let proven = |what: &LeaseNote| matches!(what, LeaseNote::Committed(Write { unit: None, .. }));
    noted(ground, holder, proven).await;
}
