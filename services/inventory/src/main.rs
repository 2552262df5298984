//! Runs the inventory service.

use std::process::ExitCode;

use millrace_inventory::{Settings, startup};

fn main() -> ExitCode {
    millrace_common::run::<Settings, _, _>(startup::build)
}
