//! Lengths of alternating runs, unfinished first.

use std::ops::Range;

use super::{CodecError, MapBuilder, Width};

/// Reads the lengths into the map. A length of 0 is legal anywhere: it is how a run longer than a number is cut in two.
pub(super) fn read(width: Width, bytes: &[u8], map: &mut MapBuilder) -> Result<(), CodecError> {
    let mut rest = bytes;
    let mut finished = false;
    while !rest.is_empty() {
        let (length, after) = width.read(rest)?;
        map.run(finished, length)?;
        finished = !finished;
        rest = after;
    }
    Ok(())
}

/// The ranges as v2 run lengths behind the magic byte.
pub(super) fn write(base: i64, ranges: &[Range<i64>], magic: u8) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1 + ranges.len() * 8);
    bytes.push(magic);
    let mut at = base;
    for range in ranges {
        push(&mut bytes, range.start.abs_diff(at));
        push(&mut bytes, range.end.abs_diff(range.start));
        at = range.end;
    }
    bytes
}

fn push(bytes: &mut Vec<u8>, length: u64) {
    let mut left = length;
    loop {
        match i32::try_from(left) {
            Ok(fits) => return bytes.extend(fits.to_be_bytes()),
            Err(_) => {
                bytes.extend(i32::MAX.to_be_bytes());
                bytes.extend(0_i32.to_be_bytes());
                left -= u64::from(i32::MAX.unsigned_abs());
            }
        }
    }
}
