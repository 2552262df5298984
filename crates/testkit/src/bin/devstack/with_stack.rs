//! `devstack with-stack`: one stack for all test programs of a run.

use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitCode, ExitStatus};
use std::time::Instant;

use anyhow::{Context, Result};
use millrace_testkit::Stack;
use millrace_testkit::launch::tether;
use millrace_testkit::stack::STACK_VARIABLE;
use nix::sys::signal::Signal;
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};

pub(crate) async fn run(command: &[String]) -> Result<ExitCode> {
    let started = Instant::now();
    let stack = Stack::private().await.context("starting the test stack")?;
    eprintln!("test stack ready after {:.1} s", started.elapsed().as_secs_f64());
    let file = stack.publish()?;
    let (program, arguments) = command.split_first().context("no command given")?;
    // The child dies with us too; it is started from the main thread, whose life is the process's.
    let mut child = Command::new("setpriv")
        .args(tether(Signal::SIGKILL))
        .arg(program)
        .args(arguments)
        .env(STACK_VARIABLE, &file)
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("running {program}"))?;
    // Ctrl-C reaches the child too (same terminal); this process must outlive it to clean up.
    let mut interrupt = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    let status = tokio::select! {
        status = child.wait() => status.context("waiting for the command")?,
        _ = interrupt.recv() => child.wait().await.context("waiting for the command")?,
        _ = terminate.recv() => {
            child.kill().await.context("ending the command")?;
            ExitStatus::from_raw(Signal::SIGTERM as i32)
        }
    };
    drop(stack);
    Ok(exit_code(status))
}

/// The command's own code; a signal as shells show it, 128 and its number.
fn exit_code(status: ExitStatus) -> ExitCode {
    let signalled = || status.signal().map(|signal| 128 + signal);
    let code = status.code().or_else(signalled).unwrap_or(1);
    u8::try_from(code).map_or(ExitCode::FAILURE, ExitCode::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commands_own_code_is_passed_on() {
        for (wait_status, code) in [(0, 0), (7 << 8, 7), (9, 137), (15, 143)] {
            assert_eq!(exit_code(ExitStatus::from_raw(wait_status)), ExitCode::from(code));
        }
    }
}
