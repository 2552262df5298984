//! Calls with handlers, readers and stores that misbehave: what becomes of each record, and of those around it.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Mutex;

use millrace_envelope::{ConsumerGroup, TopicName};
use rdkafka::Timestamp;

use super::*;
use crate::consumer::lanes::Portion;
use crate::consumer::offsets::{CompletedMap, OffsetTracker};
use crate::consumer::schedule::{Limits, Schedule, Tenure};
use crate::consumer::slot::Slot;
use crate::message::{RawRecordBuilder, Unreadable};
use crate::{HandlerError, KafkaSettings};

mod floods;

const TOPIC: TopicName = TopicName::from_static("order-events");
const GROUP: ConsumerGroup = ConsumerGroup::from_static("inventory.reserve");
const SLOT: Slot = Slot { topic: 0, partition: 0 };

/// The record's text; some texts can't be read.
#[derive(Debug)]
struct Text(String);

impl Message for Text {
    fn read(record: &RawRecord) -> Result<Self, Unreadable> {
        let text = String::from_utf8_lossy(record.payload().unwrap_or_default()).into_owned();
        match text.as_str() {
            "torn" => Err(Unreadable::undecodable("torn")),
            "foreign" => Err(Unreadable::Skip),
            "unreadable" => panic!("a reader that panics"),
            _ => Ok(Self(text)),
        }
    }

    fn id(&self) -> Option<Uuid> {
        assert_ne!(self.0, "nameless", "an id that panics");
        None
    }
}

type Handled<'a> = Pin<Box<dyn Future<Output = Outcomes> + Send + 'a>>;

/// A handler that does what its texts say, and remembers them.
#[derive(Default)]
struct Obedient {
    seen: Mutex<Vec<String>>,
    /// Answers for whole calls, before the texts have their say.
    answers: Mutex<VecDeque<Outcomes>>,
}

fn outcome(text: &str) -> Outcome {
    match text {
        "retry" => Outcome::retry(&codes::HANDLER_FAILED, "not now"),
        "dead" => Outcome::dead(&codes::HANDLER_FAILED, "never"),
        "panic" => panic!("a handler that panics"),
        _ => Outcome::Done,
    }
}

impl Handler for Obedient {
    type Message = Text;

    fn handle(&self, batch: Batch<Text>) -> impl Future<Output = Outcomes> + Send {
        let texts: Vec<String> =
            batch.deliveries.into_iter().map(|delivery| delivery.message.0).collect();
        self.seen.lock().unwrap().push(texts.join(" "));
        if texts.iter().any(|text| text == "eager panic") {
            panic!("before the future is there");
        }
        let answer = self.answers.lock().unwrap().pop_front();
        let handled: Handled<'_> = Box::pin(async move {
            if texts.iter().any(|text| text == "stuck") {
                std::future::pending::<()>().await;
            }
            answer
                .unwrap_or_else(|| Outcomes::each(texts.iter().map(|text| outcome(text)).collect()))
        });
        handled
    }
}

/// A store that refuses the first letters.
#[derive(Default)]
struct Shelf {
    refusals: Mutex<VecDeque<&'static str>>,
    kept: Mutex<Vec<DeadLetter>>,
}

impl DeadLetterStore for Shelf {
    fn bury(
        &self,
        letter: DeadLetter,
    ) -> futures::future::BoxFuture<'_, Result<(), Box<dyn std::error::Error + Send + Sync>>> {
        Box::pin(async move {
            let refusal = self.refusals.lock().unwrap().pop_front();
            match refusal {
                Some("panic") => panic!("a store that panics"),
                Some(reason) => Err(reason.into()),
                None => {
                    self.kept.lock().unwrap().push(letter);
                    Ok(())
                }
            }
        })
    }
}

struct Stage {
    caller: Caller<Obedient>,
    dispatch: RecordDispatch,
    tenure: Tenure,
    shelf: Arc<Shelf>,
    now: Instant,
}

impl Stage {
    /// Of a handler of batches, or of single records.
    fn new(singly: bool, with_store: bool) -> Self {
        let settings = KafkaSettings::from_environment("T", Default::default()).unwrap();
        let identity = Arc::new(Identity::new(&settings, GROUP, TOPIC, false, None));
        let board = Arc::new(Board::new(Duration::from_secs(60)));
        let shelf = Arc::new(Shelf::default());
        let caller = Caller {
            handler: Arc::new(Obedient::default()),
            policy: settings.retry_policy(),
            store: with_store.then(|| Arc::clone(&shelf) as Arc<dyn DeadLetterStore>),
            board,
            meters: Meters::of(&identity),
            identity,
            singly,
        };
        let lanes = if singly { 1 } else { usize::MAX };
        let portion = Portion { lanes, records: 32, bytes: 1 << 20 };
        let now = Instant::now();
        let mut schedule = Schedule::new(Limits { concurrency: 8, portion, flood: 5 });
        let tracker = OffsetTracker::new(Some(0), CompletedMap::default());
        let tenure = schedule.assign(SLOT, tracker, false, now);
        Self { caller, dispatch: RecordDispatch::new(schedule, 1), tenure, shelf, now }
    }

    /// Records from offset 0 on, each in its lane.
    fn push(&self, records: &[(LaneId, &str)]) {
        let items = (0_i64..).zip(records).map(|(offset, (lane, text))| {
            let mut record =
                RawRecordBuilder::new(TOPIC, 0, offset, Timestamp::CreateTime(1_700_000_000_000));
            record.key(Some(&lane.to_be_bytes()));
            record.payload(Some(text.as_bytes()));
            let record = record.build();
            let bytes = record.size();
            (*lane, Item::new(record, offset, bytes))
        });
        let left_out =
            self.dispatch.with(|schedule| schedule.push(SLOT, items.collect(), self.now));
        assert_eq!(left_out, 0);
    }

    fn take(&self) -> Option<Work<RawRecord>> {
        self.dispatch.with(|schedule| schedule.take(self.now))
    }

    /// Makes the next call, if there is one; what it came to is settled, and its offsets are told.
    async fn call(&self) -> Option<Told> {
        let work = self.take()?;
        let settlement = self.caller.call(work, &self.dispatch).await;
        let told = Told::of(&settlement);
        self.dispatch.with(|schedule| schedule.settle(settlement, self.now));
        Some(told)
    }

    fn seen(&self) -> Vec<String> {
        std::mem::take(&mut *self.caller.handler.seen.lock().unwrap())
    }

    fn answer(&self, outcomes: Outcomes) {
        self.caller.handler.answers.lock().unwrap().push_back(outcomes);
    }

    fn pass(&mut self, span: Duration) {
        self.now += span;
    }

    /// Publishes all letters; their codes by offset.
    fn publish(&self) -> Vec<(i64, &'static str)> {
        self.dispatch.with(|schedule| {
            let mut published = Vec::new();
            for (tenure, letters) in schedule.take_letters(100) {
                let records: Vec<_> = letters.iter().map(|each| (each.lane, each.record)).collect();
                published.extend(
                    letters.iter().map(|each| (each.record.offset, each.letter.failure.code.code)),
                );
                schedule.letters_published(tenure, &records, self.now);
            }
            published
        })
    }

    /// The offset that would be committed.
    fn position(&self) -> Option<i64> {
        self.dispatch.with(|schedule| schedule.view(SLOT)?.position)
    }

    fn records(&self) -> usize {
        self.dispatch.with(|schedule| schedule.view(SLOT).unwrap().records)
    }
}

/// The offsets of a settlement.
#[derive(Debug, Default, PartialEq, Eq)]
struct Told {
    finished: Vec<i64>,
    returned: Vec<i64>,
    letters: Vec<i64>,
    failed: u32,
}

impl Told {
    fn of(settlement: &RecordSettlement) -> Self {
        let mut told = Self {
            finished: settlement.finished.iter().map(|record| record.offset).collect(),
            returned: settlement
                .lanes
                .iter()
                .flat_map(|end| &end.returned)
                .map(|item| item.offset)
                .collect(),
            letters: settlement.letters.iter().map(|letter| letter.record.offset).collect(),
            failed: settlement.failed,
        };
        told.finished.sort_unstable();
        told.returned.sort_unstable();
        told
    }
}

fn transient() -> HandlerError {
    HandlerError::transient(&codes::HANDLER_FAILED, "not now")
}

const LONG: Duration = Duration::from_secs(600);
