//! Named, supervised tasks.
//!
//! A bare spawned task ends unseen. [`Tasks`] names each one, counts those that run, and remembers those that
//! ended by a panic, so that the health page can say which part of the service is dead.
//! It refuses to restart anything: a task that must survive its own errors loops inside itself.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use end_guard::EndGuard;
use tokio_util::task::TaskTracker;

/// A set of named tasks. Cloning shares the set.
#[derive(Debug, Clone, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    // A std mutex, not the async one: it is held for a map update, never over an await.
    board: Arc<Mutex<Board>>,
}

#[derive(Debug, Default)]
struct Board {
    running: BTreeMap<String, usize>,
    panicked: Vec<String>,
}

impl Tasks {
    /// An empty set.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts `work` on the current runtime under `name`.
    pub fn spawn<F>(&self, name: impl Into<String>, work: F) -> tokio::task::JoinHandle<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let guard = EndGuard::enter(name.into(), Arc::clone(&self.board));
        self.tracker.spawn(async move {
            work.await;
            guard.finish();
        })
    }

    /// Names of the tasks that run now, each once.
    #[must_use]
    pub fn running(&self) -> Vec<String> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner).running.keys().cloned().collect()
    }

    /// Names of the tasks that ended by a panic (or were aborted) since the start.
    #[must_use]
    pub fn panicked(&self) -> Vec<String> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner).panicked.clone()
    }

    /// Waits until all tasks ended, at most `budget`. Returns the names of those still running.
    pub async fn wait(&self, budget: Duration) -> Vec<String> {
        self.tracker.close();
        match tokio::time::timeout(budget, self.tracker.wait()).await {
            Ok(()) => Vec::new(),
            Err(_) => self.running(),
        }
    }
}

mod end_guard {
    use super::{Arc, Board, Mutex, PoisonError};

    /// Takes the task's name off the board however the task ends.
    pub(super) struct EndGuard {
        name: String,
        board: Arc<Mutex<Board>>,
        finished: bool,
    }

    impl EndGuard {
        pub(super) fn enter(name: String, board: Arc<Mutex<Board>>) -> Self {
            *board
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .running
                .entry(name.clone())
                .or_default() += 1;
            Self { name, board, finished: false }
        }

        pub(super) fn finish(mut self) {
            self.finished = true;
        }
    }

    impl Drop for EndGuard {
        fn drop(&mut self) {
            let mut board = self.board.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(count) = board.running.get_mut(&self.name) {
                *count -= 1;
                if *count == 0 {
                    board.running.remove(&self.name);
                }
            }
            if !self.finished {
                board.panicked.push(self.name.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_that_panics_is_remembered_by_name() {
        let tasks = Tasks::new();
        let good = tasks.spawn("good", async {});
        let bad = tasks.spawn("bad", async { panic!("on purpose") });
        assert!(good.await.is_ok());
        assert!(bad.await.is_err());
        assert_eq!(tasks.panicked(), ["bad"]);
        assert!(tasks.wait(Duration::from_secs(5)).await.is_empty());
    }

    #[tokio::test]
    async fn waiting_names_what_still_runs() {
        let tasks = Tasks::new();
        let stuck = tasks.spawn("stuck", std::future::pending());
        assert_eq!(tasks.wait(Duration::from_millis(10)).await, ["stuck"]);
        stuck.abort();
    }
}
