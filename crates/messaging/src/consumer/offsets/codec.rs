//! Parallel Consumer's commit metadata, read and written.
//!
//! The text is base64 (standard alphabet, padded); its first byte names the encoding, the rest is the map relative to
//! the committed offset, which stands at position 0 and is unfinished:
//!
//! | byte | encoding | content |
//! |---|---|---|
//! | `n` / `J` | run lengths v1, plain / zstd | 2-byte lengths: unfinished, finished, unfinished, ... |
//! | `e` / `p` | run lengths v2, plain / zstd | the same with 4-byte lengths |
//! | `l` / `a` | bit set v1, plain / zstd | 2-byte count of bits, then the bits, 1 = finished |
//! | `o` / `s` | bit set v2, plain / zstd | the same with a 4-byte count |
//!
//! Numbers are big-endian and signed; bit `i` is bit `i % 8`, counted from the lowest, of byte `i / 8`. Empty metadata
//! is an empty map. All eight are read; the v2 ones are written, as no other limit than the metadata's length binds
//! them. Where Parallel Consumer drops a map that is too long and commits the offset alone, a shorter map is written
//! here: its end is then taken for unfinished.
//!
//! Metadata is input from outside: another tool may have written it, or the group may have been moved by hand. It is
//! refused whole at the first thing that is not as a writer of this format leaves it, within fixed bounds of memory.

mod bit_set;
mod run_lengths;

use std::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::map::{CompletedMap, MapBuilder, RANGES_MAX};

/// What a broker accepts as commit metadata unless told otherwise (`offset.metadata.max.bytes`).
pub(crate) const METADATA_BYTES_MAX: usize = 4096;
/// Payload, magic byte included, that base64 turns into `METADATA_BYTES_MAX`.
const PAYLOAD_BYTES_MAX: usize = METADATA_BYTES_MAX / 4 * 3;
/// A compressed map that unpacks to more is refused: few hundred bytes of zstd can hold gigabytes.
const DECODED_BYTES_MAX: usize = 512 * 1024;
/// A bit set longer than this isn't tried: over such a span run lengths are the shorter form.
const BIT_SET_BYTES_TRIED_MAX: usize = 64 * 1024;
/// Below this, zstd's own frame costs more than it saves.
const COMPRESSED_FROM_BYTES: usize = 48;

/// Why commit metadata was not taken for a map. The committed offset stands all the same.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CodecError {
    #[error("metadata of {bytes} bytes is longer than a map can be")]
    TooLong { bytes: usize },
    #[error("metadata is not base64")]
    Base64(#[source] base64::DecodeError),
    #[error("metadata begins with {magic:#04x}, which names no encoding that is read here")]
    UnknownEncoding { magic: u8 },
    #[error("compressed map was not unpacked within {DECODED_BYTES_MAX} bytes")]
    Compressed(#[source] std::io::Error),
    #[error("map ends in the middle of a number or before its last bit")]
    Truncated,
    #[error("map has a negative length")]
    NegativeLength,
    #[error("map has bits set behind its end")]
    StrayBits,
    #[error("map says that the committed offset itself is finished")]
    BaseFinished,
    #[error("map has more than {RANGES_MAX} separate ranges")]
    TooManyRanges,
    #[error("map reaches beyond the range of offsets")]
    OffsetOverflow,
}

/// Width of an encoding's numbers: the whole difference between its versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Width {
    V1,
    V2,
}

impl Width {
    fn bytes(self) -> usize {
        match self {
            Width::V1 => 2,
            Width::V2 => 4,
        }
    }

    /// The first number of the bytes and what follows it.
    fn read(self, bytes: &[u8]) -> Result<(i64, &[u8]), CodecError> {
        let (number, rest) = bytes.split_at_checked(self.bytes()).ok_or(CodecError::Truncated)?;
        let number = match *number {
            [a, b] => i64::from(i16::from_be_bytes([a, b])),
            [a, b, c, d] => i64::from(i32::from_be_bytes([a, b, c, d])),
            _ => return Err(CodecError::Truncated),
        };
        Ok((number, rest))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    RunLengths(Width),
    BitSet(Width),
}

/// What a first byte stands for: the form, and whether zstd lies around it. The first bytes of Kafka Streams (1 and 2)
/// and of the byte arrays that Parallel Consumer once tried are not among them.
fn encoding(magic: u8) -> Option<(Form, bool)> {
    Some(match magic {
        b'n' => (Form::RunLengths(Width::V1), false),
        b'J' => (Form::RunLengths(Width::V1), true),
        b'e' => (Form::RunLengths(Width::V2), false),
        b'p' => (Form::RunLengths(Width::V2), true),
        b'l' => (Form::BitSet(Width::V1), false),
        b'a' => (Form::BitSet(Width::V1), true),
        b'o' => (Form::BitSet(Width::V2), false),
        b's' => (Form::BitSet(Width::V2), true),
        _ => return None,
    })
}

/// The finished offsets that a commit of `base` carried in its metadata.
///
/// # Errors
/// See [`CodecError`]; the caller warns and goes on from `base` with an empty map.
pub(crate) fn decode(base: i64, metadata: &str) -> Result<CompletedMap, CodecError> {
    if metadata.len() > METADATA_BYTES_MAX {
        return Err(CodecError::TooLong { bytes: metadata.len() });
    }
    let payload = STANDARD.decode(metadata).map_err(CodecError::Base64)?;
    let mut map = MapBuilder::new(base)?;
    let Some((&magic, content)) = payload.split_first() else {
        return Ok(map.build());
    };
    let (form, compressed) = encoding(magic).ok_or(CodecError::UnknownEncoding { magic })?;
    let unpacked;
    let content = if compressed {
        // Unpacking in one step into a buffer of this size bounds both the result and zstd's window.
        unpacked =
            zstd::bulk::decompress(content, DECODED_BYTES_MAX).map_err(CodecError::Compressed)?;
        &unpacked
    } else {
        content
    };
    match form {
        Form::RunLengths(width) => run_lengths::read(width, content, &mut map)?,
        Form::BitSet(width) => bit_set::read(width, content, &mut map)?,
    }
    Ok(map.build())
}

/// Metadata, and whether all of the ranges found room in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Encoded {
    pub(super) metadata: String,
    pub(super) complete: bool,
}

/// The shortest metadata that tells of these finished ranges, or of as many of the first as fit. The ranges ascend
/// without touching and begin above the base. `None` when there is nothing to tell.
pub(super) fn encode(base: i64, ranges: &[Range<i64>]) -> Option<Encoded> {
    let bounded = &ranges[..ranges.len().min(RANGES_MAX)];
    let mut fitting = shortest(base, bounded)?;
    let mut complete = bounded.len() == ranges.len();
    if fitting.len() > PAYLOAD_BYTES_MAX {
        complete = false;
        // Length grows with the number of ranges, nearly enough for a binary search: each step that fits is kept.
        let (mut fits, mut too_many) = (0, bounded.len());
        while too_many - fits > 1 {
            let middle = usize::midpoint(fits, too_many);
            match shortest(base, &bounded[..middle]) {
                Some(shorter) if shorter.len() <= PAYLOAD_BYTES_MAX => {
                    (fits, fitting) = (middle, shorter);
                }
                _ => too_many = middle,
            }
        }
        if fits == 0 {
            return None;
        }
    }
    Some(Encoded { metadata: STANDARD.encode(fitting), complete })
}

/// The shortest payload that holds all of the ranges.
fn shortest(base: i64, ranges: &[Range<i64>]) -> Option<Vec<u8>> {
    let end = ranges.last()?.end;
    let plain_runs = run_lengths::write(base, ranges, b'e');
    let plain_bits = bit_set::write(base..end, ranges, b'o', BIT_SET_BYTES_TRIED_MAX);
    let mut shortest = match plain_bits.as_ref() {
        Some(bits) if bits.len() < plain_runs.len() => bits.clone(),
        _ => plain_runs.clone(),
    };
    if shortest.len() >= COMPRESSED_FROM_BYTES {
        let compressed =
            [Some((b'p', plain_runs)), plain_bits.map(|bits| (b's', bits))].into_iter().flatten();
        for (magic, plain) in compressed {
            // What wouldn't be read back isn't written; a compressor that fails leaves the plain forms.
            let content = &plain[1..];
            let Some(packed) = (content.len() <= DECODED_BYTES_MAX)
                .then(|| zstd::bulk::compress(content, zstd::DEFAULT_COMPRESSION_LEVEL).ok())
                .flatten()
            else {
                continue;
            };
            if packed.len() + 1 < shortest.len() {
                shortest = [&[magic], packed.as_slice()].concat();
            }
        }
    }
    Some(shortest)
}

/// The payloads of all four written forms, however long: what tests damage and read back.
#[cfg(test)]
pub(super) fn every_form(base: i64, ranges: &[Range<i64>]) -> Vec<Vec<u8>> {
    let end = ranges.last().map_or(base, |last| last.end);
    let packed = |magic: u8, plain: &[u8]| {
        [&[magic], zstd::bulk::compress(&plain[1..], 3).unwrap().as_slice()].concat()
    };
    let runs = run_lengths::write(base, ranges, b'e');
    let bits = bit_set::write(base..end, ranges, b'o', usize::MAX).unwrap();
    vec![packed(b'p', &runs), packed(b's', &bits), runs, bits]
}
