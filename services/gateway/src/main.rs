//! The gateway's process: settings, start, run until a signal, exit code.

#[global_allocator]
static ALLOCATOR: millrace_common::Allocator = millrace_common::Allocator;

fn main() -> std::process::ExitCode {
    millrace_common::run::<millrace_gateway::Settings, _, _>(millrace_gateway::startup::build)
}
