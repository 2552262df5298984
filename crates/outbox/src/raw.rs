//! A record that is passed on byte for byte, as the column `raw` holds it.
//!
//! Events don't need this: their parts are texts with columns of their own. A dead letter keeps whatever it was given:
//! a key that is no UTF-8, a null value, Spring's binary headers. All of it goes into one `bytea`:
//!
//! | part | bytes |
//! |---|---|
//! | form, 1 | 1 |
//! | timestamp in milliseconds, `i64::MIN` for none | 8 |
//! | key: length, -1 for null; bytes | 4 + n |
//! | value: length, -1 for null; bytes | 4 + n |
//! | number of headers | 4 |
//! | each header: length of the name; name in UTF-8; length of the value, -1 for null; bytes | 4 + n + 4 + m |
//!
//! Numbers are big-endian. Another form than 1 is refused, so that a relay older than its database holds such a row
//! back instead of publishing something else.

use millrace_envelope::TopicName;
use millrace_messaging::RawOutgoing;

const FORM: u8 = 1;
const NO_TIMESTAMP: i64 = i64::MIN;

/// The column holds no record that this release can read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("raw record can't be read: {0}")]
pub(crate) struct Unreadable(&'static str);

/// The record without its topic, which has a column.
pub(crate) fn write(record: &RawOutgoing) -> Vec<u8> {
    let payload_bytes = record.payload.as_ref().map_or(0, Vec::len);
    let mut bytes = Vec::with_capacity(payload_bytes + 1024);
    bytes.push(FORM);
    bytes.extend(record.timestamp_ms.unwrap_or(NO_TIMESTAMP).to_be_bytes());
    write_part(&mut bytes, record.key.as_deref());
    write_part(&mut bytes, record.payload.as_deref());
    bytes.extend(length(record.headers.len()).to_be_bytes());
    for (name, value) in &record.headers {
        write_part(&mut bytes, Some(name.as_bytes()));
        write_part(&mut bytes, value.as_deref());
    }
    bytes
}

fn write_part(bytes: &mut Vec<u8>, part: Option<&[u8]>) {
    match part {
        Some(part) => {
            bytes.extend(length(part.len()).to_be_bytes());
            bytes.extend(part);
        }
        None => bytes.extend((-1_i32).to_be_bytes()),
    }
}

/// The broker takes a few megabytes at most, so the length always fits.
fn length(count: usize) -> i32 {
    i32::try_from(count).expect("a record is far below two gigabytes")
}

/// The record that [`write()`] wrote.
pub(crate) fn read(topic: TopicName, bytes: &[u8]) -> Result<RawOutgoing, Unreadable> {
    let mut rest = Rest(bytes);
    if rest.take(1)? != [FORM] {
        return Err(Unreadable("it was written by a newer release"));
    }
    let timestamp_ms = i64::from_be_bytes(rest.array()?);
    let (key, payload) = (rest.part()?, rest.part()?);
    let count = i32::from_be_bytes(rest.array()?);
    let mut headers = Vec::new();
    for _ in 0..count {
        let name = rest.part()?.ok_or(Unreadable("a header has no name"))?;
        let name =
            String::from_utf8(name).map_err(|_| Unreadable("the name of a header is no UTF-8"))?;
        headers.push((name, rest.part()?));
    }
    if !rest.0.is_empty() {
        return Err(Unreadable("something follows its end"));
    }
    let timestamp_ms = Some(timestamp_ms).filter(|ms| *ms != NO_TIMESTAMP);
    Ok(RawOutgoing { topic, key, payload, headers, timestamp_ms })
}

struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], Unreadable> {
        let (taken, rest) =
            self.0.split_at_checked(count).ok_or(Unreadable("it ends too early"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Unreadable> {
        self.take(N)?.try_into().map_err(|_| Unreadable("it ends too early"))
    }

    fn part(&mut self) -> Result<Option<Vec<u8>>, Unreadable> {
        match i32::from_be_bytes(self.array()?) {
            -1 => Ok(None),
            count => {
                let count =
                    usize::try_from(count).map_err(|_| Unreadable("a length is negative"))?;
                Ok(Some(self.take(count)?.to_vec()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn part() -> impl Strategy<Value = Option<Vec<u8>>> {
        proptest::option::of(proptest::collection::vec(any::<u8>(), 0..40))
    }

    proptest! {
        #[test]
        fn whatever_is_written_is_read_and_nothing_shorter_or_longer_is(
            key in part(),
            payload in part(),
            headers in proptest::collection::vec((".{0,12}", part()), 0..5),
            timestamp_ms in proptest::option::of(any::<i32>().prop_map(i64::from)),
            cut in any::<prop::sample::Index>(),
        ) {
            let topic = TopicName::from_static("t");
            let record = RawOutgoing { topic: topic.clone(), key, payload, headers, timestamp_ms };
            let mut bytes = write(&record);
            prop_assert_eq!(read(topic.clone(), &bytes), Ok(record));
            prop_assert!(read(topic.clone(), &bytes[..cut.index(bytes.len())]).is_err());
            bytes.push(0);
            prop_assert!(read(topic, &bytes).is_err());
        }

        #[test]
        fn bytes_from_elsewhere_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _read: Result<_, _> = read(TopicName::from_static("t"), &bytes);
        }
    }

    #[test]
    fn another_form_is_refused() {
        let error = read(TopicName::from_static("t"), &[2, 0, 0]).unwrap_err();
        assert!(error.to_string().contains("newer release"));
    }
}
