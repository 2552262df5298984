//! The schedule against a world that is too simple to be wrong: it hands records in, plays the runners with fates
//! drawn by chance, and remembers of each record where it is. What must hold is checked after every step, and in the
//! end everything is drained.
//!
//! What can happen is in [`steps`], the world in [`world`]; single stories are in [`flow`].

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::sample::Index;

use super::super::lanes::After;
use super::super::offsets::CompletedMap;
use super::*;
use steps::{portion, step};
use world::World;

mod flow;
mod steps;
mod world;

type Pure = Schedule<(), ()>;

const PARTITIONS: i32 = 3;
const FLOOD: u32 = 4;

fn slot(partition: i32) -> Slot {
    Slot { topic: 0, partition }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_order_and_accounts_hold_and_everything_ends(
        portion in portion(),
        steps in prop::collection::vec(step(), 1..250),
    ) {
        let mut world = World::new(portion);
        for step in &steps {
            world.step(step);
            world.check();
        }
        world.drain();
    }
}
