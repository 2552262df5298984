//! A few requests of Kafka's protocol, spoken by hand.
//!
//! The client library can't say everything that a test needs: who coordinates a group, which members it has and
//! under which protocol, a header whose name is not UTF-8, the markers that lie between records. Each of these is one request
//! of a few fields, so it is written here instead of starting a Java tool for a second each time. Not a client: no retry,
//! no pooling, one connection per request, and only the versions that the pinned broker speaks.

use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

mod codec;

pub(crate) use codec::{Reader, Writer};

const LIMIT: Duration = Duration::from_secs(5);
const ANSWER_BYTES_MAX: usize = 256 * 1024 * 1024;

/// A request's number and version, and whether that version has the compact encoding.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Api {
    key: i16,
    version: i16,
    compact: bool,
}

impl Api {
    pub(crate) const PRODUCE: Self = Self::plain(0, 3);
    pub(crate) const FETCH: Self = Self::plain(1, 4);
    pub(crate) const METADATA: Self = Self::plain(3, 4);
    pub(crate) const OFFSET_COMMIT: Self = Self::compact(8, 9);
    pub(crate) const FIND_COORDINATOR: Self = Self::plain(10, 1);
    pub(crate) const DESCRIBE_GROUPS: Self = Self::plain(15, 4);
    pub(crate) const INCREMENTAL_ALTER_CONFIGS: Self = Self::compact(44, 1);
    pub(crate) const ELECT_LEADERS: Self = Self::plain(43, 1);
    pub(crate) const ALTER_PARTITION_REASSIGNMENTS: Self = Self::compact(45, 0);
    pub(crate) const CONSUMER_GROUP_DESCRIBE: Self = Self::compact(69, 0);

    const fn plain(key: i16, version: i16) -> Self {
        Self { key, version, compact: false }
    }

    const fn compact(key: i16, version: i16) -> Self {
        Self { key, version, compact: true }
    }
}

/// Asks the broker at `address` and returns the answer's body.
///
/// # Errors
/// When nobody answers within five seconds.
pub(crate) async fn ask(address: &str, api: Api, body: Writer) -> Result<Reader> {
    let answer = tokio::time::timeout(LIMIT, exchange(address, api, body));
    answer.await.with_context(|| format!("{address} did not answer"))?
}

async fn exchange(address: &str, api: Api, body: Writer) -> Result<Reader> {
    let mut stream =
        TcpStream::connect(address).await.with_context(|| format!("connecting to {address}"))?;
    let mut request = Writer::default();
    request.i16(api.key).i16(api.version).i32(1).nullable_text(Some("testkit"));
    if api.compact {
        request.tags();
    }
    request.raw(&body.into_bytes());
    let request = request.into_bytes();
    let length = i32::try_from(request.len()).context("the request is too long")?;
    stream.write_all(&length.to_be_bytes()).await.context("sending the request")?;
    stream.write_all(&request).await.context("sending the request")?;
    let length = stream.read_i32().await.context("reading the answer's length")?;
    let length = usize::try_from(length).context("the answer's length is negative")?;
    anyhow::ensure!(length <= ANSWER_BYTES_MAX, "the answer has {length} bytes");
    let mut answer = vec![0; length];
    stream.read_exact(&mut answer).await.context("reading the answer")?;
    let mut reader = Reader::new(answer);
    anyhow::ensure!(reader.i32()? == 1, "the answer belongs to another request");
    if api.compact {
        reader.tags()?;
    }
    Ok(reader)
}

/// Turns a broker's error code into an error that names it.
///
/// # Errors
/// When the code is not zero.
pub(crate) fn accept(code: i16, what: &str) -> Result<()> {
    anyhow::ensure!(code == 0, "{what} was refused with {}", name_of(code));
    Ok(())
}

/// The protocol's name of an error code, of those that tests meet.
pub(crate) fn name_of(code: i16) -> String {
    let name = match code {
        3 => "UNKNOWN_TOPIC_OR_PARTITION",
        6 => "NOT_LEADER_OR_FOLLOWER",
        14 => "COORDINATOR_LOAD_IN_PROGRESS",
        15 => "COORDINATOR_NOT_AVAILABLE",
        16 => "NOT_COORDINATOR",
        19 => "NOT_ENOUGH_REPLICAS",
        22 => "ILLEGAL_GENERATION",
        25 => "UNKNOWN_MEMBER_ID",
        56 => "KAFKA_STORAGE_ERROR",
        69 => "GROUP_ID_NOT_FOUND",
        80 => "PREFERRED_LEADER_NOT_AVAILABLE",
        other => return format!("error {other}"),
    };
    name.to_owned()
}
