//! Is a record repeated that had been finished long before its owner went?
//!
//! Finished offsets are committed, with the map of those above the oldest unfinished one, at least once a promised
//! window while the coordinator answers. What was finished longer before its owner's end than that must not be handed
//! over again; time in which somebody else waited for the coordinator's answer doesn't count.
//! A record that was given up without a database is finished when its letter is there, which nobody notes: until then it
//! is one of the holes, and a hole may come again.

use crate::anomaly::{Anomaly, AnomalyName};
use crate::history::{Outcome, What};
use crate::promises::Promises;
use crate::view::{Facts, Note, Partition, View};

/// Who ends a member notes it a little before that one has taken its last breath.
const NOTE_LAG_US: i64 = 100_000;

pub(super) fn check(view: &View<'_>, promises: &Promises) -> Vec<Anomaly> {
    let Some(window_us) = promises.replay_window_us else { return Vec::new() };
    let mut found = Vec::new();
    for (id, facts) in &view.records {
        for (again, finished, partition) in repeats(facts, promises.inbox) {
            if from_memory(view, finished, again, partition) {
                continue;
            }
            let went_us = owner_went(view, finished, partition).filter(|went| *went <= again.at_us);
            let until_us = went_us.unwrap_or(again.at_us);
            let silent_us = silent(view, finished.at_us, until_us);
            let known_us = until_us - finished.at_us - silent_us;
            if known_us > window_us {
                let text = format!(
                    "{id}: {} began it again, {known_us} us after {} had finished it and before that one went \
                     ({silent_us} us of silence left out)",
                    again.by, finished.by
                );
                found.push(Anomaly::new(AnomalyName::LateRepeat, text));
            }
        }
    }
    found
}

/// Each start after an end, with the first end; `inbox` says that to give a record up ends it.
fn repeats<'f, 'h>(
    facts: &'f Facts<'h>,
    inbox: bool,
) -> impl Iterator<Item = (Note<'h>, Note<'h>, Partition<'h>)> + 'f {
    let ends = facts.settled.iter().filter(|(_, outcome)| match outcome {
        Outcome::Done => true,
        Outcome::Dead => inbox,
    });
    let finished = ends.map(|(note, _)| *note).min_by_key(|note| note.index);
    let starts = facts.starts.iter();
    starts.filter_map(move |start| {
        let finished = finished.filter(|finished| finished.index < start.note.index)?;
        Some((start.note, finished, start.place.partition))
    })
}

/// True of a zombie that goes on with what it had read before its partition was taken: that is no replay.
fn from_memory(
    view: &View<'_>,
    finished: Note<'_>,
    again: Note<'_>,
    partition: Partition<'_>,
) -> bool {
    if !view.zombies.contains(again.by) {
        return false;
    }
    let events = &view.history.events;
    let its = |topic: &str, number: i32| (topic, number) == partition;
    // It may have begun before it noted that the partition is its own; but not if it noted the loss of it in between.
    let until = events.partition_point(|event| event.at_us <= again.at_us + NOTE_LAG_US);
    let from = finished.index;
    for (index, event) in
        (from..).zip(&events[from..until]).filter(|(_, event)| event.by == again.by)
    {
        if let What::Assigned { topic, partition: number } = &event.what
            && its(topic, *number)
        {
            return false;
        }
        if let What::Revoked { topic, partition: number } | What::Lost { topic, partition: number } =
            &event.what
            && index > again.index
            && its(topic, *number)
        {
            return true;
        }
    }
    true
}

/// How much of a span the coordinator left somebody without an answer.
fn silent(view: &View<'_>, from_us: i64, until_us: i64) -> i64 {
    let events = &view.history.events;
    let after = events.partition_point(|event| event.at_us <= from_us);
    let spans = events[after..].iter().filter_map(|event| {
        let What::Silent { for_us } = event.what else { return None };
        Some((event.at_us - for_us, event.at_us))
    });
    // One watcher asks one question after the other, so its spans don't overlap.
    spans.map(|(from, until)| (until.min(until_us) - from.max(from_us)).max(0)).sum()
}

/// When the member that finished a record stopped being able to commit it.
fn owner_went(view: &View<'_>, finished: Note<'_>, partition: Partition<'_>) -> Option<i64> {
    let events = &view.history.events;
    let from = events.partition_point(|event| event.at_us < finished.at_us - NOTE_LAG_US);
    let went = events[from..].iter().find(|event| match &event.what {
        What::Ended { member } | What::Zombie { member } => member == finished.by,
        What::Revoked { topic, partition: number } | What::Lost { topic, partition: number } => {
            event.by == finished.by && (topic.as_str(), *number) == partition
        }
        What::Sent { .. }
        | What::Acked { .. }
        | What::SendFailed { .. }
        | What::SendUnknown { .. }
        | What::Assigned { .. }
        | What::Polled { .. }
        | What::Started { .. }
        | What::Failed { .. }
        | What::Abandoned { .. }
        | What::Effect { .. }
        | What::Settled { .. }
        | What::Silent { .. }
        | What::Committed { .. } => false,
    });
    went.map(|event| event.at_us)
}
