//! Completed offsets as sorted ranges, and the one way to build them from numbers that may be lies.

use std::ops::Range;

use super::codec::CodecError;

/// More separate ranges than this are neither read nor written: what a map costs in memory is bounded by it.
pub(super) const RANGES_MAX: usize = 32_768;

/// Which offsets above a committed one are finished.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct CompletedMap {
    base: i64,
    ranges: Vec<Range<i64>>,
}

impl CompletedMap {
    /// The committed offset that the map was written for; it is itself never finished.
    pub(crate) fn base(&self) -> i64 {
        self.base
    }

    /// One past the highest finished offset, or the base. A map that ends above the partition's end offset was written
    /// for another incarnation of the topic: its owner drops it.
    pub(crate) fn end(&self) -> i64 {
        self.ranges.last().map_or(self.base, |last| last.end)
    }

    pub(super) fn into_ranges(self) -> Vec<Range<i64>> {
        self.ranges
    }
}

/// What tests ask of a map; the tracker takes its ranges over instead.
#[cfg(test)]
impl CompletedMap {
    /// Whether it names no finished offset.
    pub(crate) fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Whether the offset is finished.
    pub(crate) fn contains(&self, offset: i64) -> bool {
        let after = self.ranges.partition_point(|range| range.end <= offset);
        self.ranges.get(after).is_some_and(|range| range.start <= offset)
    }

    /// The finished offsets in ascending ranges that neither touch nor overlap.
    pub(crate) fn ranges(&self) -> &[Range<i64>] {
        &self.ranges
    }

    /// How many offsets are finished.
    pub(crate) fn completed(&self) -> u64 {
        self.ranges.iter().map(|range| range.end.abs_diff(range.start)).sum()
    }
}

/// Builds a map run by run, checking each number.
#[derive(Debug)]
pub(super) struct MapBuilder {
    at: i64,
    map: CompletedMap,
}

impl MapBuilder {
    pub(super) fn new(base: i64) -> Result<MapBuilder, CodecError> {
        if base < 0 {
            return Err(CodecError::OffsetOverflow);
        }
        Ok(MapBuilder { at: base, map: CompletedMap { base, ranges: Vec::new() } })
    }

    /// Appends `length` offsets that are all finished or all not.
    pub(super) fn run(&mut self, finished: bool, length: i64) -> Result<(), CodecError> {
        let length = u64::try_from(length).map_err(|_| CodecError::NegativeLength)?;
        let end = self.at.checked_add_unsigned(length).ok_or(CodecError::OffsetOverflow)?;
        if finished && end > self.at {
            if self.at == self.map.base {
                return Err(CodecError::BaseFinished);
            }
            let full = self.map.ranges.len() == RANGES_MAX;
            match self.map.ranges.last_mut() {
                Some(last) if last.end == self.at => last.end = end,
                _ if full => return Err(CodecError::TooManyRanges),
                _ => self.map.ranges.push(self.at..end),
            }
        }
        self.at = end;
        Ok(())
    }

    pub(super) fn build(self) -> CompletedMap {
        self.map
    }
}
