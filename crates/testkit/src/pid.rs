//! Process identity that survives pid reuse.
//!
//! A pid alone may name a stranger by the time it is signalled; the kernel's start tick beside it can't.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

/// One process, for as long as it lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    /// The kernel's number for it.
    pub pid: u32,
    /// Clock ticks between boot and its start.
    pub started: u64,
}

impl ProcessId {
    /// The process that has this pid now.
    #[must_use]
    pub fn of(pid: u32) -> Option<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name in parentheses may contain anything, so fields are counted from its end.
        let (_, after_name) = stat.rsplit_once(") ")?;
        let fields: Vec<&str> = after_name.split_whitespace().collect();
        let zombie = matches!(fields.first(), Some(&("Z" | "X")));
        let started = fields.get(19)?.parse().ok()?;
        (!zombie).then_some(Self { pid, started })
    }

    /// This process.
    #[must_use]
    pub fn current() -> Option<Self> {
        Self::of(std::process::id())
    }

    /// True while that very process lives.
    #[must_use]
    pub fn alive(self) -> bool {
        Self::of(self.pid) == Some(self)
    }

    /// Sends a signal if that very process still lives; says whether it did.
    pub fn signal(self, signal: Signal) -> bool {
        let Ok(pid) = i32::try_from(self.pid) else {
            return false;
        };
        self.alive() && kill(Pid::from_raw(pid), signal).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_with_another_start_time_is_a_stranger() {
        let me = ProcessId::current().unwrap();
        assert!(me.alive());
        let before = ProcessId { started: me.started.wrapping_sub(1), ..me };
        assert!(!before.alive());
        assert!(!before.signal(Signal::SIGKILL));
    }
}
