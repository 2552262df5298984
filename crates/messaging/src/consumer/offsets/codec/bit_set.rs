//! One bit per offset, behind a count of bits.

use std::ops::Range;

use super::{CodecError, MapBuilder, Width};

/// Reads the bits into the map. Parallel Consumer leaves an unused byte behind the last bit: bytes of zeros there are
/// legal, set bits are not.
pub(super) fn read(width: Width, bytes: &[u8], map: &mut MapBuilder) -> Result<(), CodecError> {
    let (count, bits) = width.read(bytes)?;
    let count = usize::try_from(count).map_err(|_| CodecError::NegativeLength)?;
    if bits.len() < count.div_ceil(8) {
        return Err(CodecError::Truncated);
    }
    let (whole, rest) = bits.split_at(count / 8);
    for &byte in whole {
        read_byte(byte, 8, map)?;
    }
    if let Some((&last, behind)) = rest.split_first() {
        let left = count % 8;
        read_byte(last, left, map)?;
        if u32::from(last) >> left != 0 || behind.iter().any(|&byte| byte != 0) {
            return Err(CodecError::StrayBits);
        }
    }
    Ok(())
}

fn read_byte(byte: u8, count: usize, map: &mut MapBuilder) -> Result<(), CodecError> {
    match byte {
        0x00 => map.run(false, count as i64),
        0xff => map.run(true, count as i64),
        _ => (0..count).try_for_each(|bit| map.run(byte >> bit & 1 == 1, 1)),
    }
}

/// The ranges as a v2 bit set over `span` behind the magic byte; `None` when it would take more than `bytes_max`.
pub(super) fn write(
    span: Range<i64>,
    ranges: &[Range<i64>],
    magic: u8,
    bytes_max: usize,
) -> Option<Vec<u8>> {
    let count = usize::try_from(span.end.checked_sub(span.start)?).ok()?;
    let bits_bytes = count.div_ceil(8);
    if bits_bytes > bytes_max {
        return None;
    }
    let mut bytes = Vec::with_capacity(1 + 4 + bits_bytes);
    bytes.push(magic);
    bytes.extend(i32::try_from(count).ok()?.to_be_bytes());
    bytes.resize(1 + 4 + bits_bytes, 0);
    let bits = &mut bytes[5..];
    for range in ranges {
        let from = usize::try_from(range.start.checked_sub(span.start)?).ok()?;
        let to = usize::try_from(range.end.checked_sub(span.start)?).ok()?;
        set(bits, from..to);
    }
    Some(bytes)
}

fn set(bits: &mut [u8], range: Range<usize>) {
    let Range { start: mut at, end } = range;
    while at < end {
        if at.is_multiple_of(8) && end - at >= 8 {
            bits[at / 8] = 0xff;
            at += 8;
        } else {
            bits[at / 8] |= 1 << (at % 8);
            at += 1;
        }
    }
}
