//! Maps that crossed between Parallel Consumer 0.5.3.3 and this codec, both ways, and metadata that must not pass.
//!
//! Each line of golden.txt is a name, the base, run lengths (unfinished first), who wrote it (`Millrace`, or the
//! encoding that Parallel Consumer was made to use) and the metadata. What Millrace wrote was read by Parallel Consumer
//! as these same runs.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::codec::{CodecError, METADATA_BYTES_MAX, decode, encode};
use super::map::{CompletedMap, MapBuilder};

struct Golden {
    title: &'static str,
    map: CompletedMap,
    writer: &'static str,
    metadata: &'static str,
}

fn golden() -> Vec<Golden> {
    let read = |line: &'static str| {
        let [name, base, runs, writer, metadata] =
            line.split(' ').collect::<Vec<_>>().try_into().unwrap();
        let mut map = MapBuilder::new(base.parse().unwrap()).unwrap();
        let mut finished = false;
        for run in runs.split(',') {
            let (length, times) = run.split_once('*').unwrap_or((run, "1"));
            for _ in 0..times.parse().unwrap() {
                map.run(finished, length.parse().unwrap()).unwrap();
                finished = !finished;
            }
        }
        Golden { title: name, map: map.build(), writer, metadata }
    };
    include_str!("golden.txt").lines().map(read).collect()
}

#[test]
fn what_parallel_consumer_wrote_is_read() {
    let golden = golden();
    for Golden { title, map, writer, metadata } in &golden {
        assert_eq!(&decode(map.base(), metadata).unwrap(), map, "{title} by {writer}");
    }
    let encodings = [
        "BitSet",
        "BitSetCompressed",
        "RunLength",
        "RunLengthCompressed",
        "BitSetV2",
        "BitSetV2Compressed",
        "RunLengthV2",
        "RunLengthV2Compressed",
        "Millrace",
    ];
    assert!(encodings.iter().all(|encoding| golden.iter().any(|g| g.writer == *encoding)));
}

#[test]
fn what_parallel_consumer_read_is_still_what_is_written() {
    for Golden { title, map, metadata, .. } in golden().iter().filter(|g| g.writer == "Millrace") {
        let written = encode(map.base(), map.ranges()).unwrap();
        assert!(written.complete);
        assert_eq!(&decode(map.base(), &written.metadata).unwrap(), map, "{title}");
        // Another release of zstd may compress differently; the plain forms are fixed.
        let magic = STANDARD.decode(metadata).unwrap()[0];
        assert!(written.metadata == *metadata || magic == b'p' || magic == b's', "{title}");
    }
}

#[test]
fn a_written_map_is_never_longer_than_parallel_consumers_v2_forms() {
    for Golden { title, map, metadata, .. } in golden().iter().filter(|g| g.writer.contains("V2")) {
        let written = encode(map.base(), map.ranges()).unwrap().metadata;
        // Between releases of zstd the same content may differ by a few bytes.
        assert!(written.len() <= metadata.len() + 8, "{title}: {} bytes", written.len());
    }
}

#[test]
fn metadata_without_a_map_is_an_empty_map() {
    // Nothing at all; and a map of length 0, which Parallel Consumer writes while nothing above the base is finished.
    for metadata in ["", "bgAA", "ZQAAAAA=", "bwAAAAAA", "bAAAAA==", "cCi1L/0AWCEAAAAAAAA="] {
        assert!(decode(101, metadata).unwrap().is_empty(), "{metadata}");
    }
    assert_eq!(encode(101, &[]), None);
}

#[test]
fn a_run_too_long_for_one_number_is_cut_and_put_together_again() {
    let far = 5_000_000_000;
    let ranges = [1..far, far + 1..far + 3];
    let metadata = encode(0, &ranges).unwrap().metadata;
    assert_eq!(decode(0, &metadata).unwrap().ranges(), ranges);
}

fn refusal(metadata: &str) -> CodecError {
    decode(100, metadata).unwrap_err()
}

fn refusal_of(payload: &[u8]) -> CodecError {
    refusal(&STANDARD.encode(payload))
}

#[test]
fn foreign_and_damaged_metadata_is_refused_by_its_reason() {
    use CodecError as E;
    assert!(matches!(refusal("moved by hand"), E::Base64(_)));
    assert!(matches!(refusal(&"A".repeat(METADATA_BYTES_MAX + 4)), E::TooLong { .. }));
    // Kafka Streams, and the byte array that Parallel Consumer names but doesn't read.
    for magic in [1, 2, b'L', 0xee, b'x'] {
        assert!(matches!(refusal_of(&[magic, 0, 0, 0, 1]), E::UnknownEncoding { .. }));
    }
    assert!(matches!(refusal_of(&[b'e', 0, 0, 0, 1, 0, 0]), E::Truncated));
    assert!(matches!(refusal_of(&[b'o', 0, 0, 0, 9, 2]), E::Truncated));
    assert!(matches!(refusal_of(&[b'o', 0x7f, 0xff, 0xff, 0xff, 2]), E::Truncated));
    assert!(matches!(refusal_of(&[b'n', 0, 1, 0xff, 0xff]), E::NegativeLength));
    assert!(matches!(refusal_of(&[b'l', 0xff, 0xff, 2]), E::NegativeLength));
    assert!(matches!(refusal_of(&[b'o', 0, 0, 0, 3, 0b1010]), E::StrayBits));
    assert!(matches!(refusal_of(&[b'o', 0, 0, 0, 3, 0b10, 1]), E::StrayBits));
    assert!(matches!(refusal_of(b"p no frame of zstd"), E::Compressed(_)));
    assert!(matches!(decode(-1001, ""), Err(E::OffsetOverflow)));
    assert!(matches!(decode(i64::MAX - 3, "ZQAAAAEAAAAF"), Err(E::OffsetOverflow)));
}

#[test]
fn a_map_that_finishes_its_own_base_is_refused() {
    // A committed offset is by definition unfinished: such a map belongs to another one.
    for metadata in ["ZQAAAAAAAAAF", "bwAAAAUfAA==", "bAAFHwA=", "cyi1L/0AWDEAAAAAAAUfAA=="] {
        assert!(matches!(refusal(metadata), CodecError::BaseFinished), "{metadata}");
    }
}

#[test]
fn a_small_text_that_unpacks_to_much_is_refused_within_bounds() {
    let packed = |magic: u8, content: &[u8]| {
        let packed = zstd::bulk::compress(content, 19).unwrap();
        refusal_of(&[&[magic], packed.as_slice()].concat())
    };
    assert!(matches!(packed(b'p', &vec![0; 64 << 20]), CodecError::Compressed(_)));
    let alternating = [100_000_u32.to_be_bytes().as_slice(), &[0b1010_1010; 12_500]].concat();
    assert!(matches!(packed(b's', &alternating), CodecError::TooManyRanges));
}
