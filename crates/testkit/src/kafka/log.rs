//! A partition's log as it lies there, and records that no client library would write.
//!
//! A consumer hides what lies between the records: markers of transactions, records of aborted ones, holes. And a library
//! refuses to send what a broker takes: a header whose name is not UTF-8, for one. Here a record batch (the format
//! that every broker since 0.11 keeps) is written and read byte by byte. Compressed batches are refused, not guessed at.

use anyhow::{Context, Result};

use super::access::KafkaAccess;
use super::wire::{self, Api, Reader, Writer};

const FETCH_BYTES_MAX: i32 = 64 * 1024 * 1024;
const TRANSACTIONAL: i16 = 1 << 4;
const CONTROL: i16 = 1 << 5;
const COMPRESSION: i16 = 0b111;
const MAGIC: i8 = 2;

/// A record to write, with nothing checked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RawOutgoing {
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its value; `None` is a tombstone.
    pub payload: Option<Vec<u8>>,
    /// Its headers: any bytes as a name, and a value that may be null.
    pub headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    /// Its timestamp in milliseconds; the broker refuses one that lies more than an hour ahead.
    pub timestamp_ms: i64,
}

/// What lies at one offset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// Its offset.
    pub offset: i64,
    /// True for the marker that ends a transaction: no record, though it has an offset.
    pub control: bool,
    /// True for what was written inside a transaction.
    pub transactional: bool,
    /// True for a record of a transaction that was aborted.
    pub aborted: bool,
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its value.
    pub payload: Option<Vec<u8>>,
    /// Its headers as they are.
    pub headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

impl KafkaAccess {
    /// Writes the records as one batch and returns the first one's offset. `topic` is the full name.
    ///
    /// # Panics
    /// When the broker refuses.
    pub async fn write_raw(&self, topic: &str, partition: i32, records: &[RawOutgoing]) -> i64 {
        self.append(topic, partition, records)
            .await
            .unwrap_or_else(|error| panic!("writing to {topic}/{partition}: {error:?}"))
    }

    /// Everything that lies in the partition now, markers and aborted records included. `topic` is the full name.
    ///
    /// # Panics
    /// When the broker refuses, or a batch is compressed.
    pub async fn log(&self, topic: &str, partition: i32) -> Vec<LogEntry> {
        self.read_log(topic, partition)
            .await
            .unwrap_or_else(|error| panic!("reading {topic}/{partition}: {error:?}"))
    }

    async fn append(&self, topic: &str, partition: i32, records: &[RawOutgoing]) -> Result<i64> {
        let batch = encode(records)?;
        let mut body = Writer::default();
        body.nullable_text(None).i16(-1).i32(5_000);
        body.array(1).text(topic).array(1).i32(partition).bytes(&batch);
        let address = self.leader_address(topic, partition).await?;
        let mut answer = wire::ask(&address, Api::PRODUCE, body).await?;
        anyhow::ensure!(answer.array()? == 1, "one topic was written");
        answer.text()?;
        anyhow::ensure!(answer.array()? == 1, "one partition was written");
        answer.i32()?;
        wire::accept(answer.i16()?, "the batch")?;
        answer.i64()
    }

    async fn read_log(&self, topic: &str, partition: i32) -> Result<Vec<LogEntry>> {
        let address = self.leader_address(topic, partition).await?;
        let mut entries: Vec<LogEntry> = Vec::new();
        let mut next = self.log_start(topic, partition).await?;
        loop {
            let mut part = fetch(&address, topic, partition, next).await?;
            part.entries.retain(|entry| entry.offset >= next);
            entries.append(&mut part.entries);
            // An answer without a batch is the end: what is left below the mark was compacted away.
            let Some(after) = part.next else { return Ok(entries) };
            next = after;
            if next >= part.high_watermark {
                return Ok(entries);
            }
        }
    }

    /// The first offset that can still be read.
    ///
    /// # Errors
    /// When the broker doesn't answer.
    pub async fn log_start(&self, topic: &str, partition: i32) -> Result<i64> {
        self.watermarks(topic, partition).await.map(|(low, _)| low)
    }

    /// The offset that the next record will get.
    ///
    /// # Errors
    /// When the broker doesn't answer.
    pub async fn log_end(&self, topic: &str, partition: i32) -> Result<i64> {
        self.watermarks(topic, partition).await.map(|(_, high)| high)
    }

    async fn watermarks(&self, topic: &str, partition: i32) -> Result<(i64, i64)> {
        use rdkafka::consumer::{BaseConsumer, Consumer as _};
        let (config, topic) = (self.client(), topic.to_owned());
        tokio::task::spawn_blocking(move || {
            let consumer: BaseConsumer = config.create().context("creating a client")?;
            let limit = std::time::Duration::from_secs(5);
            consumer.fetch_watermarks(&topic, partition, limit).context("asking for the ends")
        })
        .await?
    }
}

struct Part {
    entries: Vec<LogEntry>,
    high_watermark: i64,
    /// The offset after the last batch.
    next: Option<i64>,
}

async fn fetch(address: &str, topic: &str, partition: i32, from: i64) -> Result<Part> {
    let mut body = Writer::default();
    body.i32(-1).i32(100).i32(1).i32(FETCH_BYTES_MAX).i8(0);
    body.array(1).text(topic).array(1).i32(partition).i64(from).i32(FETCH_BYTES_MAX);
    // Isolation level 0 would hide which transactions were aborted; 1 tells and still sends their records.
    let mut committed = Writer::default();
    committed.i32(-1).i32(100).i32(1).i32(FETCH_BYTES_MAX).i8(1);
    committed.array(1).text(topic).array(1).i32(partition).i64(from).i32(FETCH_BYTES_MAX);
    let (_, aborted, _) = read_fetched(wire::ask(address, Api::FETCH, committed).await?)?;
    let (high_watermark, _, batches) = read_fetched(wire::ask(address, Api::FETCH, body).await?)?;
    let mut part = Part { entries: Vec::new(), high_watermark, next: None };
    decode(batches, &aborted, &mut part)?;
    Ok(part)
}

/// Producer and first offset of an aborted transaction.
type Aborted = Vec<(i64, i64)>;

fn read_fetched(mut answer: Reader) -> Result<(i64, Aborted, Vec<u8>)> {
    answer.i32()?;
    anyhow::ensure!(answer.array()? == 1, "one topic was fetched");
    answer.text()?;
    anyhow::ensure!(answer.array()? == 1, "one partition was fetched");
    answer.i32()?;
    wire::accept(answer.i16()?, "the fetch")?;
    let (high_watermark, _last_stable) = (answer.i64()?, answer.i64()?);
    let mut aborted = Aborted::new();
    for _ in 0..answer.array()? {
        aborted.push((answer.i64()?, answer.i64()?));
    }
    Ok((high_watermark, aborted, answer.bytes()?))
}

fn decode(batches: Vec<u8>, aborted: &Aborted, part: &mut Part) -> Result<()> {
    let mut reader = Reader::new(batches);
    // Producers that are inside an aborted transaction at this point of the log.
    let mut aborting: Vec<i64> = Vec::new();
    // The last batch of an answer may be cut off.
    while reader.left() >= 12 {
        let (base, length) = (reader.i64()?, usize::try_from(reader.i32()?)?);
        if reader.left() < length {
            break;
        }
        let mut batch = Reader::new(reader.take(length)?.to_vec());
        let (_epoch, magic, _crc) = (batch.i32()?, batch.i8()?, batch.i32()?);
        anyhow::ensure!(magic == MAGIC, "a batch has format {magic}");
        let attributes = batch.i16()?;
        anyhow::ensure!(attributes & COMPRESSION == 0, "a batch is compressed");
        part.next = Some(base + i64::from(batch.i32()?) + 1);
        batch.take(16)?;
        let producer = batch.i64()?;
        batch.take(6)?;
        let transactional = attributes & TRANSACTIONAL != 0;
        let control = attributes & CONTROL != 0;
        if aborted.iter().any(|(id, first)| *id == producer && *first == base) {
            aborting.push(producer);
        }
        for _ in 0..batch.array()? {
            let mut entry = decode_record(&mut batch, base)?;
            entry.transactional = transactional;
            entry.control = control;
            entry.aborted = transactional && !control && aborting.contains(&producer);
            part.entries.push(entry);
        }
        if control {
            aborting.retain(|id| *id != producer);
        }
    }
    Ok(())
}

fn decode_record(batch: &mut Reader, base: i64) -> Result<LogEntry> {
    let (_length, _attributes, _timestamp) = (batch.signed()?, batch.i8()?, batch.signed()?);
    let offset = base + batch.signed()?;
    let (key, payload) = (batch.record_bytes()?, batch.record_bytes()?);
    let mut headers = Vec::new();
    for _ in 0..batch.signed()? {
        let name = batch.record_bytes()?.context("a header has no name")?;
        headers.push((name, batch.record_bytes()?));
    }
    let (control, transactional, aborted) = (false, false, false);
    Ok(LogEntry { offset, control, transactional, aborted, key, payload, headers })
}

fn encode(records: &[RawOutgoing]) -> Result<Vec<u8>> {
    let first = records.first().context("a batch has at least one record")?;
    let latest = records.iter().map(|record| record.timestamp_ms).max().unwrap_or(0);
    let last = i32::try_from(records.len() - 1).context("the batch is too long")?;
    let mut covered = Writer::default();
    covered.i16(0).i32(last).i64(first.timestamp_ms).i64(latest);
    // No producer id, epoch and sequence: not idempotent.
    covered.i64(-1).i16(-1).i32(-1).array(records.len());
    for (delta, record) in (0..).zip(records) {
        let mut body = Writer::default();
        body.i8(0).signed(record.timestamp_ms - first.timestamp_ms).signed(delta);
        write_bytes(&mut body, record.key.as_deref());
        write_bytes(&mut body, record.payload.as_deref());
        body.signed(i64::try_from(record.headers.len())?);
        for (name, value) in &record.headers {
            write_bytes(&mut body, Some(name));
            write_bytes(&mut body, value.as_deref());
        }
        let body = body.into_bytes();
        covered.signed(i64::try_from(body.len())?).raw(&body);
    }
    let covered = covered.into_bytes();
    let mut batch = Writer::default();
    let after_length = 4 + 1 + 4 + covered.len();
    batch.i64(0).i32(i32::try_from(after_length)?).i32(-1).i8(MAGIC);
    batch.raw(&crc32c(&covered).to_be_bytes()).raw(&covered);
    Ok(batch.into_bytes())
}

fn write_bytes(writer: &mut Writer, bytes: Option<&[u8]>) {
    match bytes {
        Some(bytes) => writer.signed(bytes.len() as i64).raw(bytes),
        None => writer.signed(-1),
    };
}

/// The Castagnoli sum, bit by bit: a megabyte takes some ten milliseconds, and tests write few.
fn crc32c(bytes: &[u8]) -> u32 {
    let mut sum = u32::MAX;
    for byte in bytes {
        sum ^= u32::from(*byte);
        for _ in 0..8 {
            sum = (sum >> 1) ^ (0x82f6_3b78 & (sum & 1).wrapping_neg());
        }
    }
    !sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_is_castagnoli_s() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn a_batch_comes_back_as_it_was_written() {
        let records = [
            RawOutgoing {
                key: Some(b"k".to_vec()),
                payload: None,
                headers: vec![(vec![0xff, 0xfe], Some(b"v".to_vec())), (Vec::new(), None)],
                timestamp_ms: 1_000,
            },
            RawOutgoing {
                payload: Some(vec![0; 300]),
                timestamp_ms: 900,
                ..RawOutgoing::default()
            },
        ];
        let mut part = Part { entries: Vec::new(), high_watermark: 2, next: None };
        decode(encode(&records).unwrap(), &Aborted::new(), &mut part).unwrap();
        assert_eq!(part.next, Some(2));
        assert_eq!(part.entries.len(), 2);
        assert_eq!(part.entries[0].headers, records[0].headers);
        assert_eq!(part.entries[0].payload, None);
        assert_eq!(part.entries[1].offset, 1);
        assert_eq!(part.entries[1].payload.as_deref(), Some(&[0; 300][..]));
    }
}
