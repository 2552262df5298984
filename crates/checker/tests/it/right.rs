//! Histories in which every promise is kept, made from a plan and a seed: producers, a reader, and members that take
//! partitions from each other and repeat what had not been committed.

use std::collections::BTreeMap;

use millrace_checker::{
    EffectRow, Event, Finals, History, InboxRow, LogRecord, Order, Outcome, Promises, What,
};
use uuid::Uuid;

pub(crate) const TOPIC: &str = "parcels";
pub(crate) const EMITTED: &str = "notices";
const POLL_RECORDS: usize = 4;

/// What kind of consumer it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flavour {
    Database,
    Plain,
    Epochs,
    Partition,
}

impl Flavour {
    pub(crate) const ALL: [Self; 4] = [Self::Database, Self::Plain, Self::Epochs, Self::Partition];

    pub(crate) fn promises(self) -> Promises {
        let promises = match self {
            Self::Database => Promises::WITH_DATABASE,
            Self::Plain => Promises::WITHOUT_DATABASE,
            Self::Epochs => Promises::WITH_EPOCHS,
            Self::Partition => Promises { order: Order::Partition, ..Promises::WITHOUT_DATABASE },
        };
        Promises { replay_window_us: Some(1_000_000), ..promises }
    }
}

/// From which a history is made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) flavour: Flavour,
    pub(crate) records: usize,
    pub(crate) keys: u64,
    pub(crate) partitions: i32,
    pub(crate) seed: u64,
}

/// A small generator of its own, so that a seed means the same for ever.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }

    fn one_in(&mut self, bound: u64) -> bool {
        self.below(bound) == 0
    }
}

#[derive(Clone)]
struct Record {
    id: Uuid,
    partition: i32,
    offset: i64,
    dead: bool,
}

struct Maker {
    plan: Plan,
    dice: Dice,
    now_us: i64,
    events: Vec<Event>,
    finals: Finals,
    log: BTreeMap<i32, Vec<Record>>,
    position: i64,
    next_id: u128,
}

/// The history of a plan.
pub(crate) fn history(plan: Plan) -> History {
    let mut maker = Maker {
        plan,
        dice: Dice::new(plan.seed),
        now_us: 1_000_000,
        events: Vec::new(),
        finals: Finals { log: Some(Vec::new()), ..Finals::default() },
        log: BTreeMap::new(),
        position: 0,
        next_id: 1,
    };
    match plan.flavour {
        Flavour::Database => {
            maker.finals.effects = Some(Vec::new());
            maker.finals.inbox = Some(Vec::new());
            maker.finals.emitted = Some(Vec::new());
        }
        Flavour::Epochs => maker.finals.effects = Some(Vec::new()),
        Flavour::Plain | Flavour::Partition => {}
    }
    maker.send();
    maker.read();
    for partition in 0..plan.partitions {
        maker.consume(partition);
    }
    History::new(maker.events, maker.finals)
}

impl Maker {
    fn note(&mut self, by: &str, what: What) {
        self.now_us += 500;
        self.events.push(Event { at_us: self.now_us, by: by.to_owned(), what });
    }

    fn id(&mut self) -> Uuid {
        self.next_id += 1;
        Uuid::from_u128(self.next_id)
    }

    fn send(&mut self) {
        let mut seqs: BTreeMap<u64, u64> = BTreeMap::new();
        let mut batch = 0;
        for _ in 0..self.plan.records {
            batch += u64::from(self.dice.one_in(2));
            let (id, key) = (self.id(), self.dice.below(self.plan.keys));
            let seq = seqs.entry(key).or_default();
            *seq += 1;
            let (seq, name) = (*seq, format!("k{key}"));
            let what = What::Sent { id, key: name, seq, topic: TOPIC.into(), batch };
            self.note("producer", what);
            let partition = i32::try_from(key).unwrap() % self.plan.partitions;
            let dead = self.dice.one_in(8);
            let log = self.log.entry(partition).or_default();
            // A transaction marker takes an offset now and then.
            let offset =
                log.last().map_or(0, |last| last.offset + 1 + i64::from(id.as_u128() % 7 == 0));
            log.push(Record { id, partition, offset, dead });
            self.note("producer", What::Acked { id, partition, offset });
            let record = LogRecord { topic: TOPIC.into(), partition, offset, id };
            self.finals.log.as_mut().unwrap().push(record);
        }
    }

    /// A reader of the log beside the group.
    fn read(&mut self) {
        let mut poll = 0;
        for (partition, log) in self.log.clone() {
            for records in log.chunks(POLL_RECORDS) {
                poll += 1;
                for Record { id, offset, .. } in records {
                    let (id, offset) = (*id, *offset);
                    self.note(
                        "reader",
                        What::Polled { poll, topic: TOPIC.into(), partition, offset, id },
                    );
                }
            }
        }
    }

    fn consume(&mut self, partition: i32) {
        let log = self.log.get(&partition).cloned().unwrap_or_default();
        let (mut member, mut epoch) = (0, 1);
        let mut next = 0;
        let mut committed = 0;
        self.assigned(member, partition);
        while next < log.len() {
            self.handle(&log[next], member, epoch);
            next += 1;
            if log[next - 1].dead || self.dice.one_in(3) {
                committed = next;
                let offset = log[next - 1].offset + 1;
                self.note("conductor", What::Committed { topic: TOPIC.into(), partition, offset });
            }
            if self.dice.one_in(6) {
                self.gone(member, partition);
                (member, epoch) = (member + 1, epoch + 1);
                self.assigned(member, partition);
                next = committed;
            }
        }
    }

    fn assigned(&mut self, member: u32, partition: i32) {
        let by = format!("m{partition}-{member}");
        self.note(&by, What::Assigned { topic: TOPIC.into(), partition });
    }

    fn gone(&mut self, member: u32, partition: i32) {
        let by = format!("m{partition}-{member}");
        if self.dice.one_in(2) {
            self.note(&by, What::Revoked { topic: TOPIC.into(), partition });
        } else {
            self.note("conductor", What::Ended { member: by });
        }
    }

    fn handle(&mut self, record: &Record, member: u32, epoch: i64) {
        let Record { id, partition, offset, dead } = record.clone();
        let by = format!("m{partition}-{member}");
        let attempts = 1 + u32::try_from(self.dice.below(2)).unwrap();
        for attempt in 1..=attempts {
            let topic = TOPIC.to_owned();
            self.note(&by, What::Started { id, topic, partition, offset, attempt });
            if attempt < attempts {
                self.note(&by, What::Failed { id });
            }
        }
        if dead {
            self.bury(id);
        } else {
            self.take_effect(id, &by, partition, epoch);
        }
        let outcome = if dead { Outcome::Dead } else { Outcome::Done };
        self.note(&by, What::Settled { id, outcome });
    }

    fn bury(&mut self, id: Uuid) {
        if self.finals.letters.contains(&id) {
            return;
        }
        self.finals.letters.push(id);
        if let Some(inbox) = &mut self.finals.inbox {
            inbox.push(InboxRow { id, outcome: Outcome::Dead });
        }
    }

    fn take_effect(&mut self, id: Uuid, by: &str, partition: i32, epoch: i64) {
        self.position += 1;
        let position = self.position;
        let member = by.to_owned();
        let topic = TOPIC.to_owned();
        let row = EffectRow { id, member, epoch: None, topic, partition, position, emitted: None };
        match self.plan.flavour {
            Flavour::Plain | Flavour::Partition => {
                self.note(by, What::Effect { id, epoch: None });
            }
            Flavour::Epochs => {
                let row = EffectRow { epoch: Some(epoch), ..row };
                self.finals.effects.as_mut().unwrap().push(row);
            }
            Flavour::Database => {
                let rows = self.finals.effects.as_mut().unwrap();
                if rows.iter().any(|row| row.id == id) {
                    return;
                }
                self.next_id += 1;
                let emitted = Uuid::from_u128(self.next_id);
                rows.push(EffectRow { emitted: Some(emitted), ..row });
                self.finals.inbox.as_mut().unwrap().push(InboxRow { id, outcome: Outcome::Done });
                let log = self.finals.emitted.as_mut().unwrap();
                let offset = i64::try_from(log.len()).unwrap();
                log.push(LogRecord { topic: EMITTED.into(), partition: 0, offset, id: emitted });
            }
        }
    }
}
