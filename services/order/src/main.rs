//! The order service as a process.

use std::process::ExitCode;

use millrace_order::config::Settings;
use millrace_order::startup;

#[global_allocator]
static ALLOCATOR: millrace_common::Allocator = millrace_common::Allocator;

fn main() -> ExitCode {
    millrace_common::run::<Settings, _, _>(startup::build)
}
