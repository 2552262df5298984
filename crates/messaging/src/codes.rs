//! The stable codes that dead letters of this crate carry.

millrace_envelope::error_codes! {
    HANDLER_FAILED = "messaging.handler_failed", 500,
        "A consumer could not handle a record and gave no more precise code.",
        "Read the record's exception headers; mend the cause and redrive the record.";
    HANDLER_PANICKED = "messaging.handler_panicked", 500,
        "A consumer's code panicked on a record; the record is tried again.",
        "Report it with the log line: it is a bug.";
    READER_PANICKED = "messaging.reader_panicked", 500,
        "The code that reads a record's bytes panicked; the record was given up.",
        "Mend the reader, then redrive the record: its bytes are kept in the dead-letter topic.";
    STALE_EPOCH = "messaging.stale_epoch", 409,
        "A sink refused a write: another member has owned the partition since.",
        "Nothing; the member draws another epoch if the partition is still its own.";
    UNDECODABLE = "messaging.undecodable", 400,
        "The bytes of a record are not the envelope that its topic promises.",
        "Mend the producer; the record's bytes are kept in the dead-letter topic.";
    UNKNOWN_VERSION = "messaging.unknown_version", 400,
        "A record has a type that the consumer knows in a version that it doesn't.",
        "Deploy a consumer that reads the version, then redrive the record.";
}
