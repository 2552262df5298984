//! Runs the audit service.

use std::process::ExitCode;

use millrace_audit::{Settings, startup};

fn main() -> ExitCode {
    millrace_common::run::<Settings, _, _>(startup::build)
}
