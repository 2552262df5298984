//! Any right history is clean; any right history with one thing wrong is not.

use millrace_checker::{History, check};
use proptest::prelude::*;

use crate::right::{Dice, Flavour, Plan, history};
use crate::wrong::{NAMES, plant};

fn plans() -> impl Strategy<Value = Plan> {
    let flavours = prop::sample::select(Flavour::ALL.to_vec());
    (flavours, 1_usize..80, 1_u64..8, 1_i32..4, any::<u64>()).prop_map(
        |(flavour, records, keys, partitions, seed)| Plan {
            flavour,
            records,
            keys,
            partitions,
            seed,
        },
    )
}

proptest! {
    #[test]
    fn a_right_history_is_clean_and_its_sums_close(plan in plans()) {
        let report = check(&history(plan), &plan.flavour.promises());
        prop_assert!(report.ok(), "{report}");
        let ledger = report.ledger;
        prop_assert_eq!(ledger.sent, plan.records);
        prop_assert_eq!(ledger.done + ledger.dead, ledger.sent);
        prop_assert_eq!(ledger.both, 0);
        if plan.flavour == Flavour::Database {
            prop_assert_eq!(ledger.repeats, 0);
        }
    }

    #[test]
    fn one_thing_wrong_is_found_by_its_name(
        plan in plans(),
        name in prop::sample::select(NAMES.to_vec()),
        seed in any::<u64>(),
    ) {
        let mut history = history(plan);
        if plant(name, plan.flavour, &mut history, &mut Dice::new(seed)) {
            let report = check(&history, &plan.flavour.promises());
            prop_assert!(report.has(name), "{name} is not in: {report}");
        }
    }

    #[test]
    fn a_history_written_to_a_file_is_judged_the_same(plan in plans()) {
        let history = history(plan);
        let lines: String = history
            .events
            .iter()
            .map(|event| serde_json::to_string(event).unwrap() + "\n")
            .collect();
        let read = History::new(History::read_events(&lines).unwrap(), history.finals.clone());
        prop_assert_eq!(read, history);
    }
}
