//! Deleting what a test leaves, off the test's own runtime.
//!
//! `Drop` can't wait for a server and the test's runtime ends with the test, so one thread with a runtime of its own
//! does the cleaning. Best effort by design: what is left when the process ends goes with the stack.

use std::pin::Pin;
use std::sync::LazyLock;

use anyhow::Result;
use tokio::sync::mpsc;

type Work = Pin<Box<dyn Future<Output = Result<()>> + Send>>;

static JANITOR: LazyLock<mpsc::UnboundedSender<Work>> = LazyLock::new(|| {
    let (sender, mut queue) = mpsc::unbounded_channel::<Work>();
    std::thread::spawn(move || {
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
            return;
        };
        runtime.block_on(async {
            while let Some(work) = queue.recv().await {
                // A server that was stopped by its test can't be cleaned and needn't be.
                drop(work.await);
            }
        });
    });
    sender
});

/// Runs `work` later; its failure is nobody's concern.
pub(crate) fn clean(work: impl Future<Output = Result<()>> + Send + 'static) {
    drop(JANITOR.send(Box::pin(work)));
}
