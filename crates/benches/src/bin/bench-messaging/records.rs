//! The records that are measured with, and what must come out of them.
//!
//! A set is described by a few numbers, so that the process that writes it, the one that reads it and the check agree
//! without handing lists around. Every record carries its key and its number within the key (from 1): a reader that
//! sees 1, 2, 3, ... up to the last for each key has lost nothing, met nothing twice and kept the order.

use anyhow::{Context, Result, ensure};
use millrace_common::envelope::{
    EncodedRecord, Envelope, MessageContext, TopicName, TraceContext, events,
};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Bytes of a record's value, in both forms.
pub(crate) const VALUE_BYTES: usize = 200;
/// The logical name of every topic here; sets differ by their prefix.
pub(crate) const TOPIC: TopicName = TopicName::from_static("bench-notes");
/// One of so many traces is sampled by whoever made the record.
pub(crate) const SAMPLED_ONE_OF: u32 = 100;

/// The payload of an enveloped record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Note {
    pub(crate) key: String,
    pub(crate) number: u32,
    pub(crate) padding: String,
}

events! {
    /// What is written in envelopes.
    pub(crate) enum NoteEvent on "bench-notes", aggregate "note", key key {
        "note.taken" v1 => Taken(Note),
    }
}

/// How a record looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Form {
    /// Two numbers and padding, without headers.
    Raw,
    /// An envelope with all headers that the product writes.
    Enveloped,
}

/// How keys are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Spread {
    /// Each as likely as any other.
    Even,
    /// One after the other, so that a record's place in the set follows from its key and number.
    Turns,
    /// The nth one with a share of 1/n, as busy accounts are.
    Zipf,
}

/// A set of records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RecordSet {
    pub(crate) count: u32,
    pub(crate) keys: u32,
    pub(crate) form: Form,
    pub(crate) spread: Spread,
    pub(crate) seed: u64,
}

impl RecordSet {
    /// The key of each record, in the order of writing.
    pub(crate) fn keys_drawn(&self) -> impl Iterator<Item = u32> + use<> {
        let mut random = StdRng::seed_from_u64(self.seed);
        let (keys, spread) = (self.keys, self.spread);
        let shares = match spread {
            Spread::Even | Spread::Turns => Vec::new(),
            Spread::Zipf => zipf_steps(keys),
        };
        (0..self.count).map(move |place| match spread {
            Spread::Turns => place % keys,
            Spread::Even => random.random_range(0..keys),
            Spread::Zipf => {
                let drawn: f64 = random.random();
                let at = shares.partition_point(|upper| *upper < drawn);
                u32::try_from(at).unwrap_or(keys).min(keys - 1)
            }
        })
    }

    /// The records in the order of writing: key and number within the key.
    pub(crate) fn numbered(&self) -> impl Iterator<Item = (u32, u32)> + use<> {
        let mut last = vec![0_u32; self.keys as usize];
        self.keys_drawn().map(move |key| {
            let number = &mut last[key as usize];
            *number += 1;
            (key, *number)
        })
    }

    /// The place in the writing order of a record of a set that is spread by [`Spread::Turns`].
    pub(crate) fn place_of_turn(&self, key: u32, number: u32) -> u32 {
        number.saturating_sub(1).saturating_mul(self.keys).saturating_add(key)
    }

    /// The last number of each key.
    pub(crate) fn totals(&self) -> Vec<u32> {
        let mut totals = vec![0; self.keys as usize];
        for key in self.keys_drawn() {
            totals[key as usize] += 1;
        }
        totals
    }
}

/// The upper end of each key's share of 0..1.
fn zipf_steps(keys: u32) -> Vec<f64> {
    let weights = (1..=keys).map(|rank| 1.0 / f64::from(rank));
    let whole: f64 = weights.clone().sum();
    weights
        .scan(0.0, |sum, weight| {
            *sum += weight / whole;
            Some(*sum)
        })
        .collect()
}

/// The key's bytes in both forms.
pub(crate) fn key_text(key: u32) -> String {
    format!("k{key:06}")
}

/// A record without envelope: its value is key, number and padding.
pub(crate) fn raw_value(key: u32, number: u32) -> [u8; VALUE_BYTES] {
    let mut value = [b'x'; VALUE_BYTES];
    value[..4].copy_from_slice(&key.to_be_bytes());
    value[4..8].copy_from_slice(&number.to_be_bytes());
    value
}

/// Key and number of a raw value.
pub(crate) fn raw_numbers(value: &[u8]) -> Result<(u32, u32)> {
    ensure!(value.len() == VALUE_BYTES, "a record of another size");
    let word =
        |at: usize| Ok::<_, anyhow::Error>(u32::from_be_bytes(value[at..at + 4].try_into()?));
    Ok((word(0)?, word(4)?))
}

/// The event of a record.
pub(crate) fn note(key: u32, number: u32) -> NoteEvent {
    let key = key_text(key);
    // What the envelope has without padding, by its fields' lengths; the rest of VALUE_BYTES is padding.
    const BARE_BYTES: usize = 164;
    let digits = number.checked_ilog10().map_or(1, |log| log as usize + 1);
    let padding = "x".repeat(VALUE_BYTES.saturating_sub(BARE_BYTES + key.len() + digits));
    NoteEvent::Taken(Note { key, number, padding })
}

/// A record in an envelope, with the headers of one that a traced request caused.
pub(crate) fn enveloped(key: u32, number: u32, now_ms: i64) -> Result<EncodedRecord> {
    let envelope = Envelope::new(Uuid::now_v7(), "bench", now_ms, note(key, number));
    envelope.encode(&context(key, number)).context("writing an envelope")
}

/// On whose behalf, and in which trace: one of [`SAMPLED_ONE_OF`] traces is sampled, as its maker decided.
pub(crate) fn context(key: u32, number: u32) -> MessageContext {
    let sampled = u8::from((key + number).is_multiple_of(SAMPLED_ONE_OF));
    let trace = (u128::from(key) << 64 | u128::from(number)) + (1 << 96);
    MessageContext {
        actor: Some("customer-1".to_owned()),
        correlation_id: Some(format!("c-{key}-{number}")),
        trace: TraceContext {
            traceparent: format!("00-{trace:032x}-{:016x}-{sampled:02x}", u64::from(number) + 1),
            ..TraceContext::default()
        },
        ..MessageContext::default()
    }
}

/// Key and number of an event.
pub(crate) fn note_numbers(NoteEvent::Taken(note): &NoteEvent) -> Result<(u32, u32)> {
    let digits = note.key.strip_prefix('k').context("a key of another form")?;
    Ok((digits.parse().context("a key of another form")?, note.number))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(spread: Spread) -> RecordSet {
        RecordSet { count: 20_000, keys: 100, form: Form::Raw, spread, seed: 5 }
    }

    #[test]
    fn a_set_is_the_same_wherever_it_is_drawn() {
        for spread in [Spread::Even, Spread::Turns, Spread::Zipf] {
            let set = set(spread);
            let numbered: Vec<_> = set.numbered().collect();
            assert_eq!(numbered, set.numbered().collect::<Vec<_>>());
            let mut totals = vec![0; 100];
            for (key, number) in numbered {
                totals[key as usize] += 1;
                assert_eq!(totals[key as usize], number);
            }
            assert_eq!(totals, set.totals());
        }
    }

    #[test]
    fn a_turn_s_place_follows_from_its_numbers() {
        let set = set(Spread::Turns);
        for (place, (key, number)) in (0..set.count).zip(set.numbered()) {
            assert_eq!(set.place_of_turn(key, number), place);
        }
    }

    #[test]
    fn the_first_of_a_hundred_zipf_keys_has_a_fifth_of_all() {
        let totals = set(Spread::Zipf).totals();
        assert!((3500..4300).contains(&totals[0]), "{}", totals[0]);
        assert!((1700..2200).contains(&totals[1]), "{}", totals[1]);
        let even = set(Spread::Even).totals();
        assert!(even.iter().all(|total| (130..280).contains(total)), "{even:?}");
    }

    #[test]
    fn both_forms_have_the_promised_size_and_give_back_their_numbers() {
        for (key, number) in [(0, 1), (42, 17), (999, 123_456)] {
            assert_eq!(raw_numbers(&raw_value(key, number)).unwrap(), (key, number));
            let record = enveloped(key, number, 1_763_726_400_000).unwrap();
            let value = record.payload.unwrap();
            assert_eq!(value.len(), VALUE_BYTES, "{}", String::from_utf8_lossy(&value));
            let read = Envelope::<NoteEvent>::decode(&value).unwrap();
            assert_eq!(note_numbers(&read.payload).unwrap(), (key, number));
            assert_eq!(record.key, key_text(key).into_bytes());
        }
        assert!(raw_numbers(b"short").is_err());
    }

    #[test]
    fn one_trace_of_a_hundred_is_sampled() {
        let sampled = (1..=1000).filter(|number| {
            let context = context(3, *number);
            assert!(context.trace.trace_id().is_some());
            context.trace.traceparent.ends_with("-01")
        });
        assert_eq!(sampled.count(), 10);
    }
}
