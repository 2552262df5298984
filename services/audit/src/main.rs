//! Runs the audit service.

use std::process::ExitCode;

use millrace_audit::{Settings, startup};

#[global_allocator]
static ALLOCATOR: millrace_common::Allocator = millrace_common::Allocator;

fn main() -> ExitCode {
    millrace_common::run::<Settings, _, _>(startup::build)
}
