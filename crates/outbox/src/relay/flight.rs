//! Rows on their way: at most one of each aggregate and topic is with the broker, its successors wait behind it.

use std::collections::{BTreeMap, HashMap, VecDeque};

use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use millrace_envelope::TopicName;
use millrace_messaging::{Producer, PublishError};

use super::holds::Ordering;
use super::store::Row;

/// A topic with so many rows on their way gets no more until some are answered: a topic that hangs must not
/// take all the room there is.
pub(super) const TOPIC_ROWS_MAX: usize = 1024;

pub(super) struct Flight {
    producer: Producer,
    sent: FuturesUnordered<BoxFuture<'static, Answer>>,
    /// The rows behind the one that is with the broker. A key that is here is busy, even with nothing behind.
    behind: HashMap<Ordering, VecDeque<Row>>,
    by_topic: BTreeMap<TopicName, usize>,
    by_bucket: BTreeMap<i16, usize>,
}

/// What became of one row.
pub(super) struct Answer {
    pub(super) ordering: Ordering,
    pub(super) row: (i16, i64),
    pub(super) outcome: Result<(), PublishError>,
}

impl Flight {
    pub(super) fn new(producer: Producer) -> Self {
        Self {
            producer,
            sent: FuturesUnordered::new(),
            behind: HashMap::new(),
            by_topic: BTreeMap::new(),
            by_bucket: BTreeMap::new(),
        }
    }

    /// Takes rows that are in sequence within their bucket; none of them belongs to a busy aggregate.
    pub(super) fn start(&mut self, rows: Vec<Row>) {
        for row in rows {
            let ordering = row.ordering();
            *self.by_topic.entry(ordering.topic.clone()).or_default() += 1;
            *self.by_bucket.entry(row.bucket).or_default() += 1;
            match self.behind.get_mut(&ordering) {
                Some(queue) => queue.push_back(row),
                None => {
                    self.behind.insert(ordering.clone(), VecDeque::new());
                    self.send(ordering, row);
                }
            }
        }
    }

    /// The next answer, in whatever order they come; `None` when nothing is on its way. An acknowledged row
    /// makes room for its successor; a failed one takes its successors with it, to be read again later.
    pub(super) async fn next(&mut self) -> Option<Answer> {
        let answer = self.sent.next().await?;
        self.landed(&answer.ordering.topic, answer.row.0);
        let mut queue = self.behind.remove(&answer.ordering).unwrap_or_default();
        if answer.outcome.is_ok() {
            if let Some(row) = queue.pop_front() {
                self.behind.insert(answer.ordering.clone(), queue);
                self.send(answer.ordering.clone(), row);
            }
        } else {
            for row in queue {
                self.landed(&answer.ordering.topic, row.bucket);
            }
        }
        Some(answer)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.sent.is_empty()
    }

    /// Aggregates of which nothing more may be read now.
    pub(super) fn busy(&self) -> impl Iterator<Item = &Ordering> {
        self.behind.keys()
    }

    /// Topics of which nothing more may be read now.
    pub(super) fn full_topics(&self) -> impl Iterator<Item = &TopicName> {
        self.by_topic.iter().filter(|(_, rows)| **rows >= TOPIC_ROWS_MAX).map(|(topic, _)| topic)
    }

    /// Buckets that must stay claimed.
    pub(super) fn buckets(&self) -> Vec<i16> {
        self.by_bucket.keys().copied().collect()
    }

    fn send(&self, ordering: Ordering, row: Row) {
        let producer = self.producer.clone();
        self.sent.push(Box::pin(async move {
            let place = (row.bucket, row.seq);
            let outcome = producer.publish(&row.into_record()).await;
            Answer { ordering, row: place, outcome: outcome.map(|_| ()) }
        }));
    }

    fn landed(&mut self, topic: &TopicName, bucket: i16) {
        take_one(&mut self.by_topic, topic);
        take_one(&mut self.by_bucket, &bucket);
    }
}

fn take_one<K: Ord>(counts: &mut BTreeMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}
