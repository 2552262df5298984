//! A source topic, a letter topic, and members of one group on them.

use millrace_envelope::TopicName;
use millrace_runtime::settings::{Layers, Problems, Validate, load};
use millrace_testkit::{Namespace, TestTopics};
use rdkafka::Message as _;
use serde::Deserialize;

use super::*;
use crate::DEFAULTS;

pub(super) const SOON: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Classic,
    /// KIP-848's.
    Consumer,
}

impl LetterWriter {
    /// Both parts of a transaction in one bound; what failed is given up, as the poll loop has it.
    pub(super) fn publish(
        &mut self,
        member: &BaseConsumer,
        membership: &Membership,
        letters: &[OutgoingLetter],
        offsets: &TopicPartitionList,
        bound: Duration,
    ) -> Result<(), LetterError> {
        let until = Instant::now() + bound;
        self.send(letters, bound)?;
        let left = until.saturating_duration_since(Instant::now());
        self.commit(member, membership, offsets, left).inspect_err(|_| self.abort())
    }
}

pub(super) struct Depot<'a> {
    pub(super) stack: &'a Stack,
    namespace: Namespace,
    topics: TestTopics,
    protocol: Protocol,
}

impl<'a> Depot<'a> {
    /// The first topic is the source, the second the letters'.
    pub(super) async fn open(stack: &'a Stack, protocol: Protocol, specs: &[TopicSpec]) -> Self {
        let namespace = stack.namespace();
        let topics = stack.topics(&namespace, specs).await;
        Self { stack, namespace, topics, protocol }
    }

    pub(super) fn src(&self) -> String {
        self.topics.names()[0].clone()
    }

    pub(super) fn dlt(&self) -> String {
        self.topics.names()[1].clone()
    }

    fn group(&self) -> String {
        format!("depot.sort{}", self.namespace.group_suffix)
    }

    pub(super) fn writer(&self) -> LetterWriter {
        LetterWriter::new(&settings(&self.stack.brokers()), &self.group())
    }

    pub(super) fn consumer(&self) -> BaseConsumer {
        let mut config = millrace_testkit::kafka::client(self.stack.addresses().kafka_port);
        config
            .set("group.id", self.group())
            .set("enable.auto.commit", "false")
            .set("isolation.level", "read_committed");
        match self.protocol {
            Protocol::Classic => config
                .set("partition.assignment.strategy", "cooperative-sticky")
                .set("heartbeat.interval.ms", "200"),
            Protocol::Consumer => config.set("group.protocol", "consumer"),
        };
        config.create().unwrap()
    }

    /// A consumer that owns a partition of the source.
    pub(super) fn member(&self) -> BaseConsumer {
        let member = self.consumer();
        self.join(&member);
        member
    }

    pub(super) fn join(&self, member: &BaseConsumer) {
        member.subscribe(&[&self.src()]).unwrap();
        self.poll_until(member, "a partition", || {
            member.assignment().unwrap().count() > 0 && Membership::of(member).is_some()
        });
    }

    pub(super) fn poll_until(
        &self,
        member: &BaseConsumer,
        what: &str,
        mut reached: impl FnMut() -> bool,
    ) {
        let until = Instant::now() + SOON;
        while !reached() {
            assert!(Instant::now() < until, "{:?}: waited in vain for {what}", self.protocol);
            drop(member.poll(Duration::from_millis(5)));
        }
    }

    /// The group's offset and its metadata, as a new owner of the partition gets them.
    pub(super) fn committed(&self) -> Option<(i64, String)> {
        let mut asked = TopicPartitionList::new();
        asked.add_partition(&self.src(), 0);
        let found = self.consumer().committed_offsets(asked, SOON).unwrap();
        let element = found.find_partition(&self.src(), 0).unwrap();
        element.error().unwrap();
        // Logical offsets, such as «none committed», are negative on the wire.
        let offset = element.offset().to_raw().filter(|raw| *raw >= 0)?;
        Some((offset, element.metadata().to_owned()))
    }

    /// The letters that a reader of committed records sees, sorted.
    pub(super) fn letters(&self) -> Vec<String> {
        let mut config = millrace_testkit::kafka::client(self.stack.addresses().kafka_port);
        config
            .set("group.id", "reader")
            .set("isolation.level", "read_committed")
            .set("enable.partition.eof", "true")
            .set("fetch.wait.max.ms", "10");
        let reader: BaseConsumer = config.create().unwrap();
        let metadata = reader.fetch_metadata(Some(&self.dlt()), SOON).unwrap();
        let count = metadata.topics()[0].partitions().len();
        let mut list = TopicPartitionList::new();
        for partition in 0..i32::try_from(count).unwrap() {
            list.add_partition_offset(&self.dlt(), partition, Offset::Beginning).unwrap();
        }
        reader.assign(&list).unwrap();
        let (mut letters, mut ended) = (Vec::new(), 0);
        let until = Instant::now() + SOON;
        while ended < count {
            assert!(Instant::now() < until, "the letters' end was not reached");
            match reader.poll(Duration::from_millis(100)) {
                None => {}
                Some(Ok(record)) => letters.push(text(record.payload().unwrap())),
                Some(Err(KafkaError::PartitionEOF(_))) => ended += 1,
                Some(Err(error)) => panic!("{error}"),
            }
        }
        letters.sort();
        letters
    }

    /// The letters in the log, those of open transactions too.
    pub(super) async fn uncommitted_letters(&self) -> Vec<String> {
        let records = self.stack.records(&self.dlt()).await;
        records.iter().map(|record| text(record.payload.as_deref().unwrap())).collect()
    }

    pub(super) async fn wait_for_letters(&self, expected: &[&str]) {
        wait_until("the letters", SOON, || async {
            let found = self.letters();
            if found == expected { Ok(()) } else { Err(found) }
        })
        .await;
    }

    pub(super) async fn wait_for_letter(&self, expected: &str) {
        wait_until("the letter", SOON, || async {
            let found = self.letters();
            if found.iter().any(|letter| letter == expected) { Ok(()) } else { Err(found) }
        })
        .await;
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

pub(super) fn member_of(member: &BaseConsumer) -> Membership {
    Membership::of(member).expect("the member is in its group")
}

pub(super) fn offsets(topic: &str, offset: i64, metadata: &str) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    let mut element = list.add_partition(topic, 0);
    element.set_offset(Offset::Offset(offset)).unwrap();
    if !metadata.is_empty() {
        element.set_metadata(metadata);
    }
    list
}

pub(super) fn letter(topic: &str, payload: &str) -> OutgoingLetter {
    let record = RawOutgoing {
        topic: TopicName::from_stored(topic.to_owned()),
        key: None,
        payload: Some(payload.as_bytes().to_vec()),
        headers: vec![("x-retry".to_owned(), Some(b"1".to_vec())), ("empty".to_owned(), None)],
        timestamp_ms: Some(1_700_000_000_123),
    };
    // The topics' names have their prefix already.
    OutgoingLetter::of(record, &Naming::new(&settings("unused")), None)
}

#[derive(Debug, Deserialize)]
struct Section {
    kafka: KafkaSettings,
}

impl Validate for Section {
    fn validate(&self, problems: &mut Problems) {
        self.kafka.validate(problems);
    }
}

fn settings(brokers: &str) -> KafkaSettings {
    let environment = vec![("T__KAFKA__BROKERS".to_owned(), brokers.to_owned())];
    let layers = Layers { defaults: vec![DEFAULTS], overlay: None, prefix: "T", environment };
    load::<Section>(&layers).unwrap_or_else(|problems| panic!("{problems}")).kafka
}
