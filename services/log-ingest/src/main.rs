//! Runs log-ingest.

use std::process::ExitCode;

use millrace_log_ingest::{Settings, startup};

fn main() -> ExitCode {
    millrace_common::run::<Settings, _, _>(startup::build)
}
