//! Whether the machine had time for the run.
//!
//! Two cores are easily busy with something else, and then every figure is too low. Before the run the machine must be
//! quiet; during each section the processor time of this program and all its children is subtracted from what
//! the machine used, and the rest is told beside the figures.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::statistics::of;
use crate::suite::progress;

const LOOK: Duration = Duration::from_secs(2);
const LOOKS_MAX: usize = 10;
/// A machine that only idles still has a kernel and a few daemons.
const BUSY_SHARE_QUIET: f64 = 0.10;

/// What the machine was doing before the run began.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Quiet {
    /// Processors.
    pub cores: usize,
    /// Share of the processors' time that was used over the last look.
    pub busy_share: f64,
    /// Whether that left enough for a benchmark.
    pub quiet: bool,
}

impl Quiet {
    /// Waits a while for a quiet machine, and says what it found.
    ///
    /// # Errors
    /// When the kernel doesn't tell.
    pub async fn wait() -> Result<Self> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let mut look = 1;
        loop {
            let before = Ticks::read()?;
            tokio::time::sleep(LOOK).await;
            let busy_share = Ticks::read()?.since(before).busy_share();
            let quiet = busy_share <= BUSY_SHARE_QUIET;
            if quiet || look == LOOKS_MAX {
                return Ok(Self { cores, busy_share, quiet });
            }
            progress(&format!("the machine is busy ({:.0} %), waiting", busy_share * 100.0));
            look += 1;
        }
    }
}

/// Looks at the processors from a start on.
#[derive(Debug)]
pub struct Watch {
    machine: Ticks,
    ours: u64,
}

impl Watch {
    /// Looks for the first time.
    ///
    /// # Errors
    /// When the kernel doesn't tell.
    pub fn start() -> Result<Self> {
        Ok(Self { machine: Ticks::read()?, ours: our_ticks()? })
    }

    /// The share of the machine that others took since the start.
    ///
    /// # Errors
    /// When the kernel doesn't tell.
    pub fn foreign_share(&self) -> Result<f64> {
        let machine = Ticks::read()?.since(self.machine);
        let ours = our_ticks()?.saturating_sub(self.ours);
        Ok(ratio(machine.busy.saturating_sub(ours), machine.all))
    }
}

/// The kernel's clock ticks of all processors together.
#[derive(Debug, Clone, Copy)]
struct Ticks {
    all: u64,
    busy: u64,
}

impl Ticks {
    fn read() -> Result<Self> {
        let text = std::fs::read_to_string("/proc/stat").context("reading /proc/stat")?;
        let line = text.lines().next().context("/proc/stat is empty")?;
        // user nice system idle iowait irq softirq steal; guest time is part of user's.
        let ticks: Vec<u64> =
            line.split_whitespace().skip(1).take(8).filter_map(|n| n.parse().ok()).collect();
        anyhow::ensure!(ticks.len() == 8, "/proc/stat has another form");
        let all = ticks.iter().sum();
        Ok(Self { all, busy: all - ticks[3] - ticks[4] })
    }

    fn since(self, before: Self) -> Self {
        Self { all: self.all - before.all, busy: self.busy.saturating_sub(before.busy) }
    }

    fn busy_share(self) -> f64 {
        ratio(self.busy, self.all)
    }
}

fn ratio(part: u64, whole: u64) -> f64 {
    let count = |ticks: u64| of(usize::try_from(ticks).unwrap_or(usize::MAX));
    if whole == 0 { 0.0 } else { count(part) / count(whole) }
}

/// Processor time of this process, its children, their children, and all of these that have ended.
fn our_ticks() -> Result<u64> {
    let mut processes: BTreeMap<u32, (u32, u64)> = BTreeMap::new();
    for entry in std::fs::read_dir("/proc").context("reading /proc")?.flatten() {
        let pid: Option<u32> = entry.file_name().to_str().and_then(|name| name.parse().ok());
        let Some(pid) = pid else { continue };
        // A process that ends meanwhile is counted with its parent at the next look.
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        processes.extend(parent_and_ticks(&stat).map(|found| (pid, found)));
    }
    let own = std::process::id();
    let is_ours = |mut pid: u32| {
        while pid != own {
            match processes.get(&pid) {
                Some((parent, _)) if *parent != 0 => pid = *parent,
                _ => return false,
            }
        }
        true
    };
    Ok(processes.iter().filter(|(pid, _)| is_ours(**pid)).map(|(_, (_, ticks))| ticks).sum())
}

/// Fields 4 and 14 to 17 of /proc/PID/stat, counted behind the name, which may hold spaces and brackets.
fn parent_and_ticks(stat: &str) -> Option<(u32, u64)> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let parent = fields.get(1)?.parse().ok()?;
    let ticks = fields.get(11..15)?.iter().filter_map(|field| field.parse::<u64>().ok()).sum();
    Some((parent, ticks))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_s_line_is_read_behind_its_name() {
        let stat = "42 (a) b) (c) S 7 42 42 0 -1 4194560 1 2 3 4 10 20 30 40 20 0 1 0 5 6 7";
        assert_eq!(parent_and_ticks(stat), Some((7, 100)));
        assert_eq!(parent_and_ticks("42 (a"), None);
    }

    #[test]
    fn work_of_this_process_is_not_foreign() {
        let watch = Watch::start().unwrap();
        let before = our_ticks().unwrap();
        let mut sum = 0u64;
        while our_ticks().unwrap() < before + 5 {
            sum = std::hint::black_box(sum + 1);
        }
        let machine = Ticks::read().unwrap().since(watch.machine);
        let foreign = watch.foreign_share().unwrap();
        assert!(foreign < machine.busy_share() || machine.busy == 0, "{foreign} {machine:?}");
    }
}
