//! A set of offsets that is filled in ascending order and emptied in nearly that order.
//!
//! Sixty-four neighbouring offsets share a word, and only words with something in them are kept (give or take the few
//! that wait to be swept), so memory follows the number of unfinished records: a hole that stays costs one word,
//! however far the partition moves on. A word is found by its distance from either end, which is right at once
//! unless offsets are missing in between, and by binary search otherwise.

use std::collections::VecDeque;
use std::ops::Range;

/// Empty words that are let lie before a sweep is worth its while.
const SWEEP_FROM: usize = 64;

#[derive(Debug, Clone, Copy)]
struct Word {
    /// The offset of bit 0, divided by 64.
    index: i64,
    bits: u64,
}

/// See the module.
#[derive(Debug, Clone, Default)]
pub(super) struct Unfinished {
    words: VecDeque<Word>,
    empty_words: usize,
}

impl Unfinished {
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.words.iter().map(|word| word.bits.count_ones() as usize).sum()
    }

    /// The oldest one. The front word is never an empty one.
    pub(super) fn first(&self) -> Option<i64> {
        let front = self.words.front()?;
        Some((front.index << 6) + i64::from(front.bits.trailing_zeros()))
    }

    /// Adds an offset above all that were ever added.
    pub(super) fn push(&mut self, offset: i64) {
        let (index, bit) = split(offset);
        match self.words.back_mut() {
            Some(word) if word.index == index => {
                self.empty_words -= usize::from(word.bits == 0);
                word.bits |= bit;
            }
            _ => self.words.push_back(Word { index, bits: bit }),
        }
    }

    pub(super) fn contains(&self, offset: i64) -> bool {
        let (index, bit) = split(offset);
        self.find(index).is_ok_and(|at| self.words[at].bits & bit != 0)
    }

    /// Takes an offset out; false when it wasn't in.
    pub(super) fn remove(&mut self, offset: i64) -> bool {
        let (index, bit) = split(offset);
        let Ok(at) = self.find(index) else {
            return false;
        };
        let word = &mut self.words[at];
        if word.bits & bit == 0 {
            return false;
        }
        word.bits ^= bit;
        if word.bits == 0 {
            self.empty_words += 1;
            self.sweep();
        }
        true
    }

    /// Words kept, empty ones included: what memory follows.
    #[cfg(test)]
    pub(super) fn words(&self) -> usize {
        self.words.len()
    }

    fn sweep(&mut self) {
        while self.words.front().is_some_and(|word| word.bits == 0) {
            self.words.pop_front();
            self.empty_words -= 1;
        }
        // Each sweep halves the words at least, so it is paid for by the removals that emptied them.
        if self.empty_words >= SWEEP_FROM && self.empty_words * 2 > self.words.len() {
            self.words.retain(|word| word.bits != 0);
            self.empty_words = 0;
        }
    }

    /// Where the word with this index is, or would be.
    fn find(&self, index: i64) -> Result<usize, usize> {
        let (Some(front), Some(back)) = (self.words.front(), self.words.back()) else {
            return Err(0);
        };
        if index < front.index {
            return Err(0);
        }
        if index > back.index {
            return Err(self.words.len());
        }
        let last = self.words.len() - 1;
        let from_front = usize::try_from(index - front.index).ok();
        let from_back = usize::try_from(back.index - index)
            .ok()
            .and_then(|distance| last.checked_sub(distance));
        for guess in [from_back, from_front].into_iter().flatten() {
            if self.words.get(guess).is_some_and(|word| word.index == index) {
                return Ok(guess);
            }
        }
        self.words.binary_search_by_key(&index, |word| word.index)
    }

    /// How many runs of neighbouring offsets begin inside the range.
    pub(super) fn runs_beginning_in(&self, range: Range<i64>) -> usize {
        if range.is_empty() {
            return 0;
        }
        let at = self.find(range.start >> 6).unwrap_or_else(|at| at);
        let mut before = at.checked_sub(1).map(|at| self.words[at]);
        let mut count = 0;
        for &word in self.words.range(at..) {
            let first = word.index << 6;
            if first >= range.end {
                break;
            }
            let goes_on = before.is_some_and(|b| b.index + 1 == word.index && b.bits >> 63 == 1);
            let mut starts = word.bits & !(word.bits << 1 | u64::from(goes_on));
            if range.start > first {
                starts &= u64::MAX << (range.start - first);
            }
            if range.end - first < 64 {
                starts &= !(u64::MAX << (range.end - first));
            }
            count += starts.count_ones() as usize;
            before = Some(word);
        }
        count
    }

    /// The runs of neighbouring offsets that begin below `end`, ascending, at most `runs_max`.
    pub(super) fn runs_below(&self, end: i64, runs_max: usize) -> Vec<Range<i64>> {
        let mut runs: Vec<Range<i64>> = Vec::new();
        for word in &self.words {
            let mut bits = word.bits;
            while bits != 0 {
                let skipped = bits.trailing_zeros();
                let length = (bits >> skipped).trailing_ones();
                let start = (word.index << 6) + i64::from(skipped);
                let full = runs.len() == runs_max;
                match runs.last_mut() {
                    Some(run) if run.end == start => run.end += i64::from(length),
                    _ if start >= end || full => return runs,
                    _ => runs.push(start..start + i64::from(length)),
                }
                bits &= u64::MAX.checked_shl(skipped + length).unwrap_or(0);
            }
        }
        runs
    }
}

fn split(offset: i64) -> (i64, u64) {
    (offset >> 6, 1 << (offset & 63))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_goes_on_across_words_only_where_they_are_neighbours() {
        let mut set = Unfinished::default();
        // 63 and 64 touch across two words; 127 and 192 are the last and first bits of words that don't.
        for offset in [63, 64, 127, 192] {
            set.push(offset);
        }
        assert_eq!(set.runs_beginning_in(0..200), 3);
        assert_eq!(set.runs_beginning_in(64..193), 2);
        assert_eq!(set.runs_below(200, 9), [63..65, 127..128, 192..193]);
    }
}
