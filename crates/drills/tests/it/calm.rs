//! Without faults every sink ends well and the sums close.

use millrace_drills::arena::Shape;
use millrace_drills::fate::Fates;
use millrace_drills::member::SinkKind;

use crate::harness::{arena, finish_well};

const RECORDS: usize = 200;

fn fates() -> Fates {
    Fates { transient_per_mille: 100, permanent_per_mille: 100, ..Fates::default() }
}

async fn ends_well(sink: SinkKind) {
    let arena = arena(Shape { fates: fates(), ..Shape::new(sink) }).await;
    let members = vec![arena.start(&[]).unwrap(), arena.start(&[]).unwrap()];
    arena.feed(RECORDS).await.unwrap();
    let ledger = finish_well(&arena, members).await.ledger;
    assert_eq!(ledger.sent, RECORDS);
    assert_eq!(ledger.done + ledger.dead - ledger.both, RECORDS);
    assert!(ledger.dead > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drill_without_faults_ends_well_with_a_database() {
    ends_well(SinkKind::Inbox).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drill_without_faults_ends_well_without_a_database() {
    ends_well(SinkKind::Notes).await;
}
