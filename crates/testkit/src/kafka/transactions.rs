//! Transactions from outside, so that markers and aborted records lie in a log.

use std::time::Duration;

use anyhow::{Context, Result};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer as _, ThreadedProducer};

use super::access::KafkaAccess;

const LIMIT: Duration = Duration::from_secs(15);

/// How a transaction ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Commit,
    Abort,
    Open,
}

/// A transaction that nobody has ended; its records and all behind them are hidden from whoever reads committed
/// records only. Dropping it leaves it to the broker's time-out.
pub struct OpenTransaction {
    producer: ThreadedProducer<DefaultProducerContext>,
}

impl OpenTransaction {
    /// Commits it.
    ///
    /// # Panics
    /// When the broker refuses.
    pub async fn commit(self) {
        self.end("committing", |producer| producer.commit_transaction(LIMIT)).await;
    }

    /// Aborts it.
    ///
    /// # Panics
    /// When the broker refuses.
    pub async fn abort(self) {
        self.end("aborting", |producer| producer.abort_transaction(LIMIT)).await;
    }

    async fn end(
        self,
        what: &str,
        end: impl FnOnce(&ThreadedProducer<DefaultProducerContext>) -> rdkafka::error::KafkaResult<()>
        + Send
        + 'static,
    ) {
        let ended = tokio::task::spawn_blocking(move || end(&self.producer)).await;
        ended
            .expect("ending a transaction does not panic")
            .unwrap_or_else(|error| panic!("{what} a transaction: {error}"));
    }
}

impl KafkaAccess {
    /// Writes these keys and values in one transaction that is committed; a marker follows them in the log.
    ///
    /// # Panics
    /// When the broker refuses.
    pub async fn write_committed(&self, topic: &str, records: &[(&[u8], &[u8])]) {
        drop(self.transact(topic, records, End::Commit).await);
    }

    /// Writes them in one transaction that is aborted: they lie in the log, and a marker after them says that they don't
    /// count.
    ///
    /// # Panics
    /// When the broker refuses.
    pub async fn write_aborted(&self, topic: &str, records: &[(&[u8], &[u8])]) {
        drop(self.transact(topic, records, End::Abort).await);
    }

    /// Writes them in a transaction that stays open.
    ///
    /// # Panics
    /// When the broker refuses.
    pub async fn write_open(&self, topic: &str, records: &[(&[u8], &[u8])]) -> OpenTransaction {
        OpenTransaction { producer: self.transact(topic, records, End::Open).await }
    }

    async fn transact(
        &self,
        topic: &str,
        records: &[(&[u8], &[u8])],
        end: End,
    ) -> ThreadedProducer<DefaultProducerContext> {
        let mut config = self.client();
        config.set("transactional.id", format!("testkit-{}", uuid::Uuid::now_v7()));
        config.set("transaction.timeout.ms", "60000").set("linger.ms", "0");
        let topic = topic.to_owned();
        let records: Vec<(Vec<u8>, Vec<u8>)> =
            records.iter().map(|(key, value)| (key.to_vec(), value.to_vec())).collect();
        let written = tokio::task::spawn_blocking(move || {
            let producer: ThreadedProducer<DefaultProducerContext> =
                config.create().context("creating a transactional producer")?;
            write(&producer, &topic, &records, end)?;
            Ok::<_, anyhow::Error>(producer)
        });
        written
            .await
            .expect("writing does not panic")
            .unwrap_or_else(|error| panic!("a transaction was refused: {error:?}"))
    }
}

fn write(
    producer: &ThreadedProducer<DefaultProducerContext>,
    topic: &str,
    records: &[(Vec<u8>, Vec<u8>)],
    end: End,
) -> Result<()> {
    producer.init_transactions(LIMIT).context("fencing")?;
    producer.begin_transaction().context("beginning")?;
    for (key, value) in records {
        let sent = producer.send(BaseRecord::to(topic).key(key).payload(value));
        sent.map_err(|(error, _)| error).context("writing")?;
    }
    // An abort would else drop what is still on its way, and leave nothing in the log to skip.
    producer.flush(LIMIT).context("waiting for the records")?;
    match end {
        End::Commit => producer.commit_transaction(LIMIT).context("committing"),
        End::Abort => producer.abort_transaction(LIMIT).context("aborting"),
        End::Open => Ok(()),
    }
}
