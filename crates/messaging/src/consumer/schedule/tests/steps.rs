//! What can happen to a schedule, drawn by chance.

use super::*;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Done,
    Retry(u64),
    Letter,
    /// In a batch that failed as a whole.
    Alone,
    Untouched,
}

#[derive(Debug, Clone)]
pub(super) enum Step {
    /// Lanes of records, and milliseconds until they are due (0: at once).
    Push {
        partition: i32,
        records: Vec<(LaneId, u64)>,
    },
    Take,
    /// Fates for the records of one open call, one after the other and again from the first.
    Settle {
        call: Index,
        fates: Vec<Fate>,
    },
    /// A call finishes its first record and goes on.
    Progress(Index),
    TakeLetters(usize),
    Publish {
        published: bool,
    },
    Abandon(Index),
    /// The old owner's calls are open still, and their settlements come later.
    Assign {
        partition: i32,
        closed: bool,
    },
    Open(i32),
    Forget(i32),
    Leave(i32),
    Stale {
        call: Index,
    },
    Concurrency(usize),
    Pause(bool),
    Pass(u64),
}

fn zipf() -> impl Strategy<Value = LaneId> {
    (0.0..1.0_f64).prop_map(|drawn| (20.0_f64.powf(drawn)) as LaneId)
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        6 => Just(Fate::Done),
        2 => (1_u64..50).prop_map(Fate::Retry),
        1 => Just(Fate::Letter),
        1 => Just(Fate::Alone),
        1 => Just(Fate::Untouched),
    ]
}

pub(super) fn step() -> impl Strategy<Value = Step> {
    let due = prop_oneof![5 => Just(0_u64), 1 => 1_u64..40];
    let records = prop::collection::vec((zipf(), due), 1..8);
    let partition = 0..PARTITIONS;
    prop_oneof![
        8 => (partition.clone(), records)
            .prop_map(|(partition, records)| Step::Push { partition, records }),
        14 => Just(Step::Take),
        10 => (any::<Index>(), prop::collection::vec(fate(), 1..6))
            .prop_map(|(call, fates)| Step::Settle { call, fates }),
        2 => any::<Index>().prop_map(Step::Progress),
        2 => (1..5_usize).prop_map(Step::TakeLetters),
        2 => any::<bool>().prop_map(|published| Step::Publish { published }),
        1 => any::<Index>().prop_map(Step::Abandon),
        1 => (partition.clone(), any::<bool>())
            .prop_map(|(partition, closed)| Step::Assign { partition, closed }),
        2 => partition.clone().prop_map(Step::Open),
        1 => partition.clone().prop_map(Step::Forget),
        1 => partition.prop_map(Step::Leave),
        1 => any::<Index>().prop_map(|call| Step::Stale { call }),
        2 => (1..6_usize).prop_map(Step::Concurrency),
        1 => any::<bool>().prop_map(Step::Pause),
        3 => (1_u64..60).prop_map(Step::Pass),
    ]
}

pub(super) fn portion() -> impl Strategy<Value = Portion> {
    prop_oneof![
        (1..5_usize).prop_map(|records| Portion { lanes: 1, records, bytes: 1000 }),
        (1..8_usize, 1..400_usize).prop_map(|(records, bytes)| Portion {
            lanes: usize::MAX,
            records,
            bytes
        }),
    ]
}
