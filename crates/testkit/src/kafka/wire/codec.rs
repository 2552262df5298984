//! The protocol's primitive types, big-endian, in their plain and their compact form.

use anyhow::{Context, Result};

/// A request's body in the making.
#[derive(Debug, Default)]
pub(crate) struct Writer(Vec<u8>);

impl Writer {
    pub(crate) fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        self
    }

    pub(crate) fn i8(&mut self, value: i8) -> &mut Self {
        self.raw(&value.to_be_bytes())
    }

    pub(crate) fn i16(&mut self, value: i16) -> &mut Self {
        self.raw(&value.to_be_bytes())
    }

    pub(crate) fn i32(&mut self, value: i32) -> &mut Self {
        self.raw(&value.to_be_bytes())
    }

    pub(crate) fn i64(&mut self, value: i64) -> &mut Self {
        self.raw(&value.to_be_bytes())
    }

    pub(crate) fn bool(&mut self, value: bool) -> &mut Self {
        self.i8(i8::from(value))
    }

    pub(crate) fn text(&mut self, text: &str) -> &mut Self {
        self.nullable_text(Some(text))
    }

    pub(crate) fn nullable_text(&mut self, text: Option<&str>) -> &mut Self {
        match text {
            Some(text) => self.i16(length(text.len())).raw(text.as_bytes()),
            None => self.i16(-1),
        }
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.i32(length(bytes.len())).raw(bytes)
    }

    /// The length of the array whose elements follow.
    pub(crate) fn array(&mut self, count: usize) -> &mut Self {
        self.i32(length(count))
    }

    pub(crate) fn compact_text(&mut self, text: &str) -> &mut Self {
        self.compact_array(text.len()).raw(text.as_bytes())
    }

    pub(crate) fn null_compact_text(&mut self) -> &mut Self {
        self.unsigned(0)
    }

    /// The same as [`Writer::array`] in the compact form: one more than the length, zero being null.
    pub(crate) fn compact_array(&mut self, count: usize) -> &mut Self {
        self.unsigned(count as u64 + 1)
    }

    /// The end of a structure in the compact form: no tagged fields.
    pub(crate) fn tags(&mut self) -> &mut Self {
        self.unsigned(0)
    }

    pub(crate) fn unsigned(&mut self, mut value: u64) -> &mut Self {
        while value >= 0x80 {
            self.0.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
        self
    }

    /// A record's own numbers: zigzag, seven bits a byte.
    pub(crate) fn signed(&mut self, value: i64) -> &mut Self {
        self.unsigned(((value << 1) ^ (value >> 63)).cast_unsigned())
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

/// Lengths in tests are small; one that is not would be refused by the broker anyway.
fn length<T: TryFrom<usize>>(length: usize) -> T
where
    T::Error: std::fmt::Debug,
{
    T::try_from(length).expect("a test's texts and arrays fit their length fields")
}

/// An answer that is read from its front.
#[derive(Debug)]
pub(crate) struct Reader {
    bytes: Vec<u8>,
    at: usize,
}

impl Reader {
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        Self { bytes, at: 0 }
    }

    /// What is left to read.
    pub(crate) fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    pub(crate) fn take(&mut self, count: usize) -> Result<&[u8]> {
        let end = self.at.checked_add(count).context("an answer's length overflows")?;
        let taken = self.bytes.get(self.at..end).context("the answer ends early")?;
        self.at = end;
        Ok(taken)
    }

    fn array_of<const N: usize>(&mut self) -> Result<[u8; N]> {
        Ok(self.take(N)?.try_into()?)
    }

    pub(crate) fn i8(&mut self) -> Result<i8> {
        Ok(i8::from_be_bytes(self.array_of()?))
    }

    pub(crate) fn i16(&mut self) -> Result<i16> {
        Ok(i16::from_be_bytes(self.array_of()?))
    }

    pub(crate) fn i32(&mut self) -> Result<i32> {
        Ok(i32::from_be_bytes(self.array_of()?))
    }

    pub(crate) fn i64(&mut self) -> Result<i64> {
        Ok(i64::from_be_bytes(self.array_of()?))
    }

    pub(crate) fn nullable_text(&mut self) -> Result<Option<String>> {
        let length = self.i16()?;
        usize::try_from(length).ok().map(|length| self.utf8(length)).transpose()
    }

    pub(crate) fn text(&mut self) -> Result<String> {
        self.nullable_text()?.context("a text is null")
    }

    pub(crate) fn bytes(&mut self) -> Result<Vec<u8>> {
        let length = usize::try_from(self.i32()?).unwrap_or(0);
        Ok(self.take(length)?.to_vec())
    }

    /// The length of an array; a null one is empty.
    pub(crate) fn array(&mut self) -> Result<usize> {
        Ok(usize::try_from(self.i32()?).unwrap_or(0))
    }

    pub(crate) fn i32s(&mut self) -> Result<Vec<i32>> {
        (0..self.array()?).map(|_| self.i32()).collect()
    }

    pub(crate) fn nullable_compact_text(&mut self) -> Result<Option<String>> {
        let length = usize::try_from(self.unsigned()?)?;
        length.checked_sub(1).map(|length| self.utf8(length)).transpose()
    }

    pub(crate) fn compact_text(&mut self) -> Result<String> {
        self.nullable_compact_text()?.context("a text is null")
    }

    pub(crate) fn compact_array(&mut self) -> Result<usize> {
        Ok(usize::try_from(self.unsigned()?)?.saturating_sub(1))
    }

    /// Passes over tagged fields.
    pub(crate) fn tags(&mut self) -> Result<()> {
        for _ in 0..self.unsigned()? {
            self.unsigned()?;
            let length = usize::try_from(self.unsigned()?)?;
            self.take(length)?;
        }
        Ok(())
    }

    pub(crate) fn unsigned(&mut self) -> Result<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let [byte] = self.array_of()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        anyhow::bail!("a number has more than ten bytes")
    }

    pub(crate) fn signed(&mut self) -> Result<i64> {
        let raw = self.unsigned()?;
        Ok((raw >> 1).cast_signed() ^ -((raw & 1).cast_signed()))
    }

    /// A record's key, value or header value: length and bytes, -1 being null.
    pub(crate) fn record_bytes(&mut self) -> Result<Option<Vec<u8>>> {
        let length = self.signed()?;
        usize::try_from(length).ok().map(|length| Ok(self.take(length)?.to_vec())).transpose()
    }

    fn utf8(&mut self, length: usize) -> Result<String> {
        String::from_utf8(self.take(length)?.to_vec()).context("a text is not UTF-8")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back_from_their_short_form() {
        for value in [0, 1, -1, 63, 64, -64, -65, 300, i64::from(i32::MAX), i64::MIN, i64::MAX] {
            let mut writer = Writer::default();
            writer.signed(value);
            assert_eq!(Reader::new(writer.into_bytes()).signed().unwrap(), value);
        }
    }

    #[test]
    fn a_null_text_differs_from_an_empty_one() {
        let mut writer = Writer::default();
        writer.nullable_text(None).text("").compact_text("").tags();
        let mut reader = Reader::new(writer.into_bytes());
        assert_eq!(reader.nullable_text().unwrap(), None);
        assert_eq!(reader.text().unwrap(), "");
        assert_eq!(reader.compact_text().unwrap(), "");
        reader.tags().unwrap();
        assert_eq!(reader.left(), 0);
    }

    #[test]
    fn an_answer_that_ends_early_is_an_error() {
        assert!(Reader::new(vec![0, 0]).i32().is_err());
        assert!(Reader::new(vec![0, 9, b'x']).text().is_err());
    }
}
