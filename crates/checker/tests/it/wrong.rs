//! One thing wrong in a history that was right: a mutation for every name.

use millrace_checker::{AnomalyName, EffectRow, Event, History, LogRecord, Outcome, What};
use uuid::Uuid;

use crate::right::{Dice, EMITTED, Flavour, TOPIC};

/// Every name that some mutation of a flavour plants.
pub(crate) const NAMES: [AnomalyName; 22] = [
    AnomalyName::LostWrite,
    AnomalyName::Unseen,
    AnomalyName::Duplicate,
    AnomalyName::InconsistentOffset,
    AnomalyName::PollSkip,
    AnomalyName::InternalPollSkip,
    AnomalyName::NonmonotonicPoll,
    AnomalyName::InternalNonmonotonicPoll,
    AnomalyName::NonmonotonicSend,
    AnomalyName::InternalNonmonotonicSend,
    AnomalyName::AbortedRead,
    AnomalyName::OrderPerKey,
    AnomalyName::OrderPerPartition,
    AnomalyName::DoubleEffect,
    AnomalyName::DoneAndDead,
    AnomalyName::EffectWithoutRecord,
    AnomalyName::HalfCommit,
    AnomalyName::StaleEpoch,
    AnomalyName::PrematureCommit,
    AnomalyName::HandledAfterRevoke,
    AnomalyName::DoubleLetter,
    AnomalyName::LateRepeat,
];

/// Plants the anomaly somewhere in the history; false when this history has no place for it.
pub(crate) fn plant(
    name: AnomalyName,
    flavour: Flavour,
    history: &mut History,
    dice: &mut Dice,
) -> bool {
    let planted = match name {
        AnomalyName::LostWrite => lose(history, dice),
        AnomalyName::Unseen => hide_last(history, dice),
        AnomalyName::Duplicate => copy_in_log(history, dice),
        AnomalyName::InconsistentOffset => swap_in_log(history, dice),
        AnomalyName::PollSkip => skip_poll(history, dice, false),
        AnomalyName::InternalPollSkip => skip_poll(history, dice, true),
        AnomalyName::NonmonotonicPoll => poll_again(history, dice, 1),
        AnomalyName::InternalNonmonotonicPoll => poll_again(history, dice, 0),
        AnomalyName::NonmonotonicSend => swap_sends(history, dice, false),
        AnomalyName::InternalNonmonotonicSend => swap_sends(history, dice, true),
        AnomalyName::AbortedRead => abort(flavour, history, dice),
        AnomalyName::OrderPerKey if flavour != Flavour::Partition => reorder(history, dice, true),
        AnomalyName::OrderPerPartition if flavour == Flavour::Partition => {
            reorder(history, dice, false)
        }
        AnomalyName::DoubleEffect if flavour == Flavour::Database => repeat_effect(history, dice),
        AnomalyName::DoneAndDead => bury_done(history, dice),
        AnomalyName::EffectWithoutRecord => effect_of_nothing(history),
        AnomalyName::HalfCommit if flavour == Flavour::Database => forget_inbox(history, dice),
        AnomalyName::StaleEpoch if flavour == Flavour::Epochs => write_stale(history, dice),
        AnomalyName::PrematureCommit => commit_early(history, dice),
        AnomalyName::HandledAfterRevoke => handle_after_revoke(history, dice),
        AnomalyName::DoubleLetter if flavour != Flavour::Database => copy_letter(history, dice),
        AnomalyName::LateRepeat => repeat_late(history, dice),
        _ => None,
    };
    planted.is_some()
}

fn pick<T: Clone>(all: &[T], dice: &mut Dice) -> Option<T> {
    let bound = u64::try_from(all.len()).ok().filter(|bound| *bound > 0)?;
    all.get(usize::try_from(dice.below(bound)).ok()?).cloned()
}

fn acked(history: &History) -> Vec<(Uuid, i32, i64)> {
    let all = history.events.iter();
    all.filter_map(|event| match event.what {
        What::Acked { id, partition, offset } => Some((id, partition, offset)),
        _ => None,
    })
    .collect()
}

fn done(history: &History) -> Vec<Uuid> {
    let mut all: Vec<Uuid> = acked(history).into_iter().map(|(id, ..)| id).collect();
    all.retain(|id| !history.finals.letters.contains(id));
    all
}

/// The last offset of a partition.
fn end_of(history: &History, partition: i32) -> i64 {
    let all = acked(history).into_iter();
    all.filter(|record| record.1 == partition).map(|record| record.2).max().unwrap_or(-1)
}

fn forget_outcome(history: &mut History, lost: Uuid) {
    history.events.retain(
        |event| !matches!(event.what, What::Effect { id, .. } | What::Settled { id, .. } if id == lost),
    );
    let finals = &mut history.finals;
    for rows in finals.effects.iter_mut() {
        let gone: Vec<Option<Uuid>> =
            rows.iter().filter(|row| row.id == lost).map(|row| row.emitted).collect();
        rows.retain(|row| row.id != lost);
        for log in finals.emitted.iter_mut() {
            log.retain(|record| !gone.contains(&Some(record.id)));
        }
    }
    for rows in finals.inbox.iter_mut() {
        rows.retain(|row| row.id != lost);
    }
    finals.letters.retain(|id| *id != lost);
}

fn lose(history: &mut History, dice: &mut Dice) -> Option<()> {
    let (lost, ..) = pick(&acked(history), dice)?;
    forget_outcome(history, lost);
    Some(())
}

fn hide_last(history: &mut History, dice: &mut Dice) -> Option<()> {
    let (_, at, _) = pick(&acked(history), dice)?;
    let end = end_of(history, at);
    let (hidden, ..) = acked(history).into_iter().find(|r| (r.1, r.2) == (at, end))?;
    forget_outcome(history, hidden);
    history.events.retain(|event| match &event.what {
        What::Started { id, .. } | What::Failed { id } => *id != hidden,
        What::Committed { partition, offset, .. } => *partition != at || *offset <= end,
        _ => true,
    });
    Some(())
}

fn copy_in_log(history: &mut History, dice: &mut Dice) -> Option<()> {
    let log = history.finals.log.as_mut()?;
    let copied = pick(log, dice)?;
    let end = log.iter().filter(|r| r.partition == copied.partition).map(|r| r.offset).max()?;
    log.push(LogRecord { offset: end + 1, ..copied });
    Some(())
}

fn swap_in_log(history: &mut History, dice: &mut Dice) -> Option<()> {
    let log = history.finals.log.as_mut()?;
    let (first, second) = (pick(log, dice)?.id, pick(log, dice)?.id);
    if first == second {
        return None;
    }
    for record in log {
        record.id = match record.id {
            id if id == first => second,
            id if id == second => first,
            id => id,
        };
    }
    Some(())
}

fn skip_poll(history: &mut History, dice: &mut Dice, internal: bool) -> Option<()> {
    let polled: Vec<(usize, u64, i32, Uuid)> = history
        .events
        .iter()
        .enumerate()
        .filter_map(|(index, event)| match event.what {
            What::Polled { poll, partition, id, .. } => Some((index, poll, partition, id)),
            _ => None,
        })
        .collect();
    // A letter carries no time, so a record that was given up may be skipped.
    let skippable: Vec<usize> = polled
        .windows(3)
        .filter(|w| w[0].2 == w[1].2 && w[1].2 == w[2].2)
        .filter(|w| (w[0].1 == w[2].1) == internal)
        .filter(|w| !history.finals.letters.contains(&w[1].3))
        .map(|w| w[1].0)
        .collect();
    history.events.remove(pick(&skippable, dice)?);
    Some(())
}

fn poll_again(history: &mut History, dice: &mut Dice, later: u64) -> Option<()> {
    let polled: Vec<usize> = (0..history.events.len())
        .filter(|index| matches!(history.events[*index].what, What::Polled { .. }))
        .collect();
    let index = pick(&polled, dice)?;
    let mut again = history.events[index].clone();
    if let What::Polled { poll, .. } = &mut again.what {
        *poll += later * 1000;
    }
    history.events.insert(index + 1, again);
    Some(())
}

fn swap_sends(history: &mut History, dice: &mut Dice, internal: bool) -> Option<()> {
    let sent: Vec<(Uuid, String, u64)> = history
        .events
        .iter()
        .filter_map(|event| match &event.what {
            What::Sent { id, key, batch, .. } => Some((*id, key.clone(), *batch)),
            _ => None,
        })
        .collect();
    let mut pairs = Vec::new();
    for (index, (first, key, batch)) in sent.iter().enumerate() {
        let next = sent[index + 1..].iter().find(|other| other.1 == *key);
        if let Some((second, _, other_batch)) = next
            && (batch == other_batch) == internal
        {
            pairs.push((*first, *second));
        }
    }
    let (first, second) = pick(&pairs, dice)?;
    let place = |id| acked(history).into_iter().find(|record| record.0 == id);
    let (one, other) = (place(first)?, place(second)?);
    for event in &mut history.events {
        if let What::Acked { id, offset, .. } = &mut event.what {
            match *id {
                id if id == first => *offset = other.2,
                id if id == second => *offset = one.2,
                _ => {}
            }
        }
    }
    Some(())
}

fn abort(flavour: Flavour, history: &mut History, dice: &mut Dice) -> Option<()> {
    if flavour == Flavour::Database && dice.below(2) == 0 {
        let log = history.finals.emitted.as_mut()?;
        let id = Uuid::from_u128(u128::MAX);
        log.push(LogRecord { topic: EMITTED.into(), partition: 0, offset: 1_000_000, id });
        return Some(());
    }
    let (aborted, ..) = pick(&acked(history), dice)?;
    for event in &mut history.events {
        if matches!(event.what, What::Acked { id, .. } if id == aborted) {
            event.what = What::SendFailed { id: aborted };
        }
    }
    Some(())
}

/// Lets a record take effect before an earlier one of its lane.
fn reorder(history: &mut History, dice: &mut Dice, by_key: bool) -> Option<()> {
    let done = done(history);
    let lane = |id: Uuid| -> Option<String> {
        let all = history.events.iter();
        all.clone().find_map(|event| match &event.what {
            What::Sent { id: sent, key, .. } if by_key && *sent == id => Some(key.clone()),
            What::Acked { id: acked, partition, .. } if !by_key && *acked == id => {
                Some(partition.to_string())
            }
            _ => None,
        })
    };
    let mut pairs = Vec::new();
    for (index, first) in done.iter().enumerate() {
        let other = done[index + 1..].iter().find(|other| lane(**other) == lane(*first));
        pairs.extend(other.map(|other| (*first, *other)));
    }
    let (first, second) = pick(&pairs, dice)?;
    if let Some(rows) = &mut history.finals.effects {
        let earliest = rows.iter().filter(|row| row.id == first).map(|row| row.position).min()?;
        // Between two rows: positions are spread first.
        rows.iter_mut().for_each(|row| row.position *= 2);
        let row = rows.iter_mut().find(|row| row.id == second)?;
        row.position = earliest * 2 - 1;
        return Some(());
    }
    let at = history
        .events
        .iter()
        .position(|event| matches!(event.what, What::Effect { id, .. } if id == first))?;
    let mut early = history.events[at].clone();
    early.what = What::Effect { id: second, epoch: None };
    history.events.insert(at, early);
    Some(())
}

fn repeat_effect(history: &mut History, dice: &mut Dice) -> Option<()> {
    let rows = history.finals.effects.as_mut()?;
    let row = pick(rows, dice)?;
    rows.push(row);
    Some(())
}

fn bury_done(history: &mut History, dice: &mut Dice) -> Option<()> {
    let id = pick(&done(history), dice)?;
    history.finals.letters.push(id);
    Some(())
}

fn effect_of_nothing(history: &mut History) -> Option<()> {
    let id = Uuid::from_u128(u128::MAX);
    if let Some(rows) = &mut history.finals.effects {
        let member = "m0-0".to_owned();
        let position = i64::MAX / 4;
        let (topic, partition, emitted) = (TOPIC.to_owned(), 0, None);
        rows.push(EffectRow { id, member, epoch: None, topic, partition, position, emitted });
        return Some(());
    }
    let last = history.events.last()?.clone();
    history.events.push(Event { what: What::Effect { id, epoch: None }, ..last });
    Some(())
}

fn forget_inbox(history: &mut History, dice: &mut Dice) -> Option<()> {
    let rows = history.finals.inbox.as_mut()?;
    let gone = pick(rows, dice)?;
    rows.retain(|row| row.id != gone.id);
    Some(())
}

fn write_stale(history: &mut History, dice: &mut Dice) -> Option<()> {
    let rows = history.finals.effects.as_mut()?;
    let row = pick(rows, dice)?;
    let epoch = row.epoch.map(|_| 0);
    rows.push(EffectRow { epoch, position: i64::MAX / 4, ..row });
    Some(())
}

fn commit_early(history: &mut History, dice: &mut Dice) -> Option<()> {
    let done = done(history);
    let mut settled = Vec::new();
    let mut begun = Vec::new();
    for (index, event) in history.events.iter().enumerate() {
        match &event.what {
            What::Started { id, partition, offset, .. }
                if done.contains(id) && !settled.contains(id) =>
            {
                begun.push((index, *partition, *offset));
            }
            What::Settled { id, outcome: Outcome::Done } => settled.push(*id),
            _ => {}
        }
    }
    let (index, partition, offset) = pick(&begun, dice)?;
    let mut event = history.events[index].clone();
    event.by = "conductor".into();
    event.what = What::Committed { topic: TOPIC.into(), partition, offset: offset + 1 };
    history.events.insert(index + 1, event);
    Some(())
}

fn handle_after_revoke(history: &mut History, dice: &mut Dice) -> Option<()> {
    let started: Vec<Event> = history
        .events
        .iter()
        .filter(|event| matches!(event.what, What::Started { .. }))
        .cloned()
        .collect();
    let mut again = pick(&started, dice)?;
    let What::Started { topic, partition, .. } = again.what.clone() else { return None };
    again.at_us = history.events.last()?.at_us;
    let revoked = Event { what: What::Revoked { topic, partition }, ..again.clone() };
    // Long after it was asked for the partition.
    again.at_us += 1_000_000;
    history.events.extend([revoked, again]);
    Some(())
}

fn copy_letter(history: &mut History, dice: &mut Dice) -> Option<()> {
    let id = pick(&history.finals.letters, dice)?;
    history.finals.letters.push(id);
    Some(())
}

fn repeat_late(history: &mut History, dice: &mut Dice) -> Option<()> {
    let settled: Vec<Uuid> = done(history);
    let again = pick(&settled, dice)?;
    let mut start = history
        .events
        .iter()
        .rfind(|event| matches!(event.what, What::Started { id, .. } if id == again))?
        .clone();
    // Nobody went since, as far as the notes say.
    history.events.retain(|event| !matches!(event.what, What::Revoked { .. } | What::Ended { .. }));
    start.at_us = history.events.last()?.at_us + 10_000_000;
    start.by = "m-late".into();
    history.events.push(start);
    Some(())
}
