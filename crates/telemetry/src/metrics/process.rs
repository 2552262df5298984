//! What the kernel knows about this process, read when somebody scrapes: no sampling task, no cost in between.
//!
//! The names are the ones Prometheus's own clients use. Where there is no `/proc` nothing is reported.

use std::fs;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Gauge, IntGauge};

/// Linux counts a process's time in these, on every architecture that it is built for today.
const TICKS_PER_SECOND: f64 = 100.0;
/// `/proc/self/status` is used for memory, so the page size needn't be known.
const KIB: i64 = 1024;

pub(super) struct ProcessCollector {
    resident: IntGauge,
    threads: IntGauge,
    open_fds: IntGauge,
    cpu_seconds: Gauge,
}

impl ProcessCollector {
    pub(super) fn new() -> Self {
        const VALID: &str = "a constant, valid metric name";
        let int = |name: &str, help: &str| IntGauge::new(name, help).expect(VALID);
        Self {
            resident: int("process_resident_memory_bytes", "memory held in RAM"),
            threads: int("process_threads", "threads of the process"),
            open_fds: int("process_open_fds", "open file descriptors"),
            cpu_seconds: Gauge::new("process_cpu_seconds_total", "processor time used")
                .expect(VALID),
        }
    }

    fn read(&self) {
        if let Ok(status) = fs::read_to_string("/proc/self/status") {
            if let Some(kib) = status_number(&status, "VmRSS:") {
                self.resident.set(kib * KIB);
            }
            if let Some(threads) = status_number(&status, "Threads:") {
                self.threads.set(threads);
            }
        }
        if let Ok(entries) = fs::read_dir("/proc/self/fd") {
            self.open_fds.set(i64::try_from(entries.count()).unwrap_or(i64::MAX));
        }
        if let Some(ticks) =
            fs::read_to_string("/proc/self/stat").ok().as_deref().and_then(cpu_ticks)
        {
            self.cpu_seconds.set(ticks / TICKS_PER_SECOND);
        }
    }
}

impl Collector for ProcessCollector {
    fn desc(&self) -> Vec<&Desc> {
        [self.resident.desc(), self.threads.desc(), self.open_fds.desc(), self.cpu_seconds.desc()]
            .concat()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.read();
        [
            self.resident.collect(),
            self.threads.collect(),
            self.open_fds.collect(),
            self.cpu_seconds.collect(),
        ]
        .concat()
    }
}

fn status_number(status: &str, key: &str) -> Option<i64> {
    let line = status.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_whitespace().next()?.parse().ok()
}

/// User and system time: fields 14 and 15. The name in field 2 may hold spaces, so counting starts after its `)`.
fn cpu_ticks(stat: &str) -> Option<f64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_read_past_a_name_with_spaces() {
        let stat = "7 (a b) c) S 1 1 1 0 -1 0 0 0 0 0 150 50 0 0 20 0 1 0 5";
        assert_eq!(cpu_ticks(stat), Some(200.0));
    }
}
