//! One planted anomaly for each name of the schedules.

use millrace_checker::AnomalyName;
use millrace_checker::occurrences::{OccurrenceHistory, OccurrenceId, check};

fn id(task: u64, instant_ms: i64) -> OccurrenceId {
    OccurrenceId { task: format!("t{task}"), instant_ms }
}

/// Three tasks and five instants; one attempt failed and was made again.
fn history() -> OccurrenceHistory {
    let due: Vec<OccurrenceId> =
        (0..3).flat_map(|task| (0..5).map(move |instant| id(task, instant * 1000))).collect();
    let mut dispatches: Vec<(OccurrenceId, i32)> = due.iter().map(|id| (id.clone(), 1)).collect();
    dispatches.push((due[4].clone(), 2));
    let occurrences = due.iter().map(|id| (id.clone(), true)).collect();
    OccurrenceHistory { occurrences, dispatches, effects: due.clone(), due }
}

#[test]
fn a_right_history_of_occurrences_is_clean_and_its_sums_close() {
    let report = check(&history());
    assert!(report.ok(), "{report}");
    let verdict = "verdict: ok, occurrences=15 dispatches=16 fired=15 repeats=0 seed=3";
    assert_eq!(report.verdict(3), verdict);
}

type Plant = fn(&mut OccurrenceHistory);

#[test]
fn each_thing_wrong_is_found_by_its_name() {
    let plants: [(AnomalyName, Plant); 7] = [
        (AnomalyName::LostOccurrence, |history| {
            history.occurrences.remove(7);
        }),
        (AnomalyName::Unseen, |history| history.occurrences[7].1 = false),
        (AnomalyName::DoubleDispatch, |history| {
            history.dispatches.push(history.dispatches[7].clone());
        }),
        (AnomalyName::DoubleEffect, |history| history.effects.push(history.effects[7].clone())),
        (AnomalyName::EffectWithoutRecord, |history| {
            history.dispatches.remove(7);
        }),
        (AnomalyName::HalfCommit, |history| history.occurrences[7].1 = false),
        (AnomalyName::LostWrite, |history| {
            history.effects.remove(7);
        }),
    ];
    for (name, plant) in plants {
        let mut history = history();
        plant(&mut history);
        let report = check(&history);
        assert!(report.has(name), "{name} is not in: {report}");
        assert!(report.verdict(3).starts_with("verdict: broken ("), "{}", report.verdict(3));
    }
}
