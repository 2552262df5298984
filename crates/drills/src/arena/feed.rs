//! The producer of a drill: unique records, each key's in sequence, every answer noted.
//!
//! Some are garbage when the shape says so: bytes that are no envelope, an envelope that is none of ours, a null. Their
//! id stands in a header, which their dead letters keep, so that the ledger has them too.

use std::collections::{BTreeSet, HashMap};
use std::sync::PoisonError;

use millrace_checker::What;
use millrace_envelope::{EncodedRecord, Envelope, MessageContext};
use millrace_messaging::PublishError;
use millrace_runtime::Clock;
use uuid::{Builder, Uuid};

use super::{Arena, Shape};
use crate::dice::Dice;
use crate::notes::Notes;
use crate::parcel::{ID_HEADER, PARCELS, Parcel, ParcelEvent};

/// Records of one call to the producer, at most.
const BATCH_MAX: u64 = 20;

/// Makes records: ids, keys and batches come from the seed.
pub(super) struct Feeder {
    dice: Dice,
    keys: u64,
    garbage_per_mille: u64,
    sequences: HashMap<u64, u64>,
    garbage: BTreeSet<Uuid>,
    batch: u64,
    opened: Option<Notes>,
}

struct Made {
    id: Uuid,
    key: String,
    seq: u64,
    batch: u64,
    garbage: Option<Garbage>,
}

/// Records that nobody can read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Garbage {
    Noise,
    Foreign,
    Null,
}

impl Garbage {
    const ALL: [Self; 3] = [Self::Noise, Self::Foreign, Self::Null];

    fn payload(self) -> Option<Vec<u8>> {
        match self {
            Self::Noise => Some(b"\xff\x00 no envelope".to_vec()),
            Self::Foreign => Some(br#"{"of":"somebody else"}"#.to_vec()),
            Self::Null => None,
        }
    }
}

impl Feeder {
    pub(super) fn new(seed: u64, shape: &Shape) -> Self {
        Self {
            dice: Dice::new(seed),
            keys: shape.keys,
            garbage_per_mille: shape.garbage_per_mille,
            sequences: HashMap::new(),
            garbage: BTreeSet::new(),
            batch: 0,
            opened: None,
        }
    }

    /// The next batch of at most so many records.
    fn next(&mut self, most: usize) -> Vec<Made> {
        self.batch += 1;
        let size = 1 + self.dice.below(BATCH_MAX);
        let size = usize::try_from(size).unwrap_or(1).min(most);
        (0..size).map(|_| self.one()).collect()
    }

    fn one(&mut self) -> Made {
        let key = self.dice.below(self.keys);
        let seq = self.sequences.entry(key).or_default();
        *seq += 1;
        let seq = *seq;
        let id = (u128::from(self.dice.bits()) << 64) | u128::from(self.dice.bits());
        let id = Builder::from_random_bytes(id.to_be_bytes()).into_uuid();
        let drawn = self.dice.below(1000);
        let kind = usize::try_from(drawn % 3).unwrap_or(0);
        let garbage = (drawn < self.garbage_per_mille).then_some(Garbage::ALL[kind]);
        if garbage.is_some() {
            self.garbage.insert(id);
        }
        Made { id, key: format!("k{key}"), seq, batch: self.batch, garbage }
    }
}

impl Arena<'_> {
    /// Sends so many records, one call after the other, and notes what became of each.
    ///
    /// # Errors
    /// When the notes can't be opened.
    pub async fn feed(&self, records: usize) -> anyhow::Result<()> {
        let notes = self.feeder_notes()?;
        let mut left = records;
        while left > 0 {
            let batch = {
                let mut feeder = self.feeder.lock().unwrap_or_else(PoisonError::into_inner);
                feeder.next(left)
            };
            left -= batch.len();
            let records: Vec<EncodedRecord> = batch.iter().map(encode).collect::<Result<_, _>>()?;
            for Made { id, key, seq, batch, .. } in &batch {
                let (key, topic) = (key.clone(), PARCELS.to_string());
                notes.note(What::Sent { id: *id, key, seq: *seq, topic, batch: *batch });
            }
            let answers = self.producer.publish_all(&records).await;
            for (made, answer) in batch.iter().zip(answers) {
                notes.note(answered(made.id, answer));
            }
        }
        Ok(())
    }

    /// The records that nobody can read, so far.
    pub(super) fn garbage(&self) -> BTreeSet<Uuid> {
        self.feeder.lock().unwrap_or_else(PoisonError::into_inner).garbage.clone()
    }

    fn feeder_notes(&self) -> anyhow::Result<Notes> {
        let mut feeder = self.feeder.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(notes) = &feeder.opened {
            return Ok(notes.clone());
        }
        let notes = Notes::open(&self.notes_file("producer"), "producer")?;
        feeder.opened = Some(notes.clone());
        Ok(notes)
    }
}

fn answered(id: Uuid, answer: Result<millrace_messaging::RecordPosition, PublishError>) -> What {
    match answer {
        Ok(place) => What::Acked { id, partition: place.partition, offset: place.offset },
        Err(PublishError::QueueFull | PublishError::TooLarge { .. }) => What::SendFailed { id },
        Err(_) => What::SendUnknown { id },
    }
}

fn encode(made: &Made) -> serde_json::Result<EncodedRecord> {
    if let Some(garbage) = made.garbage {
        return Ok(EncodedRecord {
            topic: PARCELS,
            key: made.key.clone().into_bytes(),
            payload: garbage.payload(),
            headers: vec![(ID_HEADER.to_owned(), made.id.to_string().into_bytes())],
            timestamp_ms: None,
        });
    }
    let parcel = Parcel { key: made.key.clone(), seq: made.seq };
    let now_ms = Clock::system().now_ms();
    Envelope::new(made.id, "drill", now_ms, ParcelEvent::Sent(parcel))
        .encode(&MessageContext::default())
}
