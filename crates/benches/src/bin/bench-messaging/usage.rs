//! What this process has taken of the machine, as the kernel counts it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::resource::{UsageWho, getrusage};

/// One look at the clock, the processor time and the memory of this process.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mark {
    pub(crate) at: Instant,
    /// Processor time of all threads so far, in the kernel and outside.
    pub(crate) processor: Duration,
    pub(crate) resident_bytes: u64,
}

impl Mark {
    pub(crate) fn now() -> Self {
        Self {
            at: Instant::now(),
            processor: processor_time(),
            // A kernel that doesn't tell is noticed at the start, by `check`.
            resident_bytes: status_bytes("VmRSS:").unwrap_or_default(),
        }
    }

    /// Fails where the figures could not be taken.
    pub(crate) fn check() -> Result<()> {
        status_bytes("VmRSS:").and(status_bytes("VmHWM:")).map(drop)
    }
}

/// The most memory that this process ever had.
pub(crate) fn resident_bytes_max() -> u64 {
    status_bytes("VmHWM:").unwrap_or_default()
}

fn processor_time() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_SELF).expect("a process may ask for its own usage");
    let span = |time: nix::sys::time::TimeVal| {
        let micros = time.tv_sec() * 1_000_000 + time.tv_usec();
        Duration::from_micros(u64::try_from(micros).unwrap_or_default())
    };
    span(usage.user_time()) + span(usage.system_time())
}

fn status_bytes(label: &str) -> Result<u64> {
    let text = std::fs::read_to_string("/proc/self/status").context("reading /proc/self/status")?;
    bytes_in(&text, label).with_context(|| format!("/proc/self/status has no {label}"))
}

/// `VmRSS:     1234 kB`
fn bytes_in(status: &str, label: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(label))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_from_the_kernel_s_text() {
        let status = "Name:\tx\nVmHWM:\t   20 kB\nVmRSS:\t   12 kB\n";
        assert_eq!(bytes_in(status, "VmRSS:"), Some(12 * 1024));
        assert_eq!(bytes_in(status, "VmSwap:"), None);
        Mark::check().unwrap();
        assert!(resident_bytes_max() >= 1024 * 1024);
    }

    #[test]
    fn work_costs_processor_time() {
        let before = Mark::now();
        let mut sum = 0_u64;
        while before.at.elapsed() < Duration::from_millis(30) {
            sum = std::hint::black_box(sum + 1);
        }
        assert!(Mark::now().processor > before.processor);
    }
}
