//! The gateway's process: settings, start, run until a signal, exit code.

fn main() -> std::process::ExitCode {
    millrace_common::run::<millrace_gateway::Settings, _, _>(millrace_gateway::startup::build)
}
