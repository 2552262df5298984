//! Runs log-ingest.

use std::process::ExitCode;

use millrace_log_ingest::{Settings, startup};

#[global_allocator]
static ALLOCATOR: millrace_common::Allocator = millrace_common::Allocator;

fn main() -> ExitCode {
    millrace_common::run::<Settings, _, _>(startup::build)
}
