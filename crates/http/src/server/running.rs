//! Start, and stop in two steps.

use std::time::Duration;

use actix_web::dev::{Server as ActixServer, ServerHandle};
use millrace_runtime::{CancellationToken, Tasks};
use tokio::task::JoinHandle;

/// Both ports are taken; nobody is answered yet.
pub struct BoundServer {
    main: ActixServer,
    admin: ActixServer,
    port: u16,
    admin_port: u16,
}

impl BoundServer {
    pub(super) fn new(main: ActixServer, admin: ActixServer, port: u16, admin_port: u16) -> Self {
        Self { main, admin, port, admin_port }
    }

    /// The port for requests.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The port for probes, health and metrics.
    #[must_use]
    pub fn admin_port(&self) -> u16 {
        self.admin_port
    }

    /// Answers from here on.
    #[must_use]
    pub fn start(self) -> RunningServer {
        let tasks = Tasks::new();
        let ended = CancellationToken::new();
        RunningServer {
            port: self.port,
            admin_port: self.admin_port,
            main: Half::start("http.main", self.main, &tasks, &ended),
            admin: Half::start("http.admin", self.admin, &tasks, &ended),
            ended,
        }
    }
}

impl std::fmt::Debug for BoundServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BoundServer")
            .field("port", &self.port)
            .field("admin_port", &self.admin_port)
            .finish_non_exhaustive()
    }
}

/// A server that answers. Dropped without [`RunningServer::close`] it ends at once, with whatever is in flight.
pub struct RunningServer {
    port: u16,
    admin_port: u16,
    main: Half,
    admin: Half,
    ended: CancellationToken,
}

impl RunningServer {
    /// The port for requests.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The port for probes, health and metrics.
    #[must_use]
    pub fn admin_port(&self) -> u16 {
        self.admin_port
    }

    /// Ends when a port stopped answering: by itself, which a service can't survive, or by [`Self::drain`].
    pub async fn ended(&self) {
        self.ended.cancelled().await;
    }

    /// Goes on accepting for `delay`, then closes the request port and waits for the requests in flight, at most
    /// `budget`. False when some had to be cut off. The admin port stays.
    pub async fn drain(&self, delay: Duration, budget: Duration) -> bool {
        tokio::time::sleep(delay).await;
        self.main.stop(budget).await
    }

    /// Ends the admin port too.
    pub async fn close(self) {
        const ADMIN_BUDGET: Duration = Duration::from_secs(1);
        self.admin.stop(ADMIN_BUDGET).await;
    }
}

impl std::fmt::Debug for RunningServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RunningServer")
            .field("port", &self.port)
            .field("admin_port", &self.admin_port)
            .finish_non_exhaustive()
    }
}

/// One of the two servers with the task that drives it.
struct Half {
    handle: ServerHandle,
    task: JoinHandle<()>,
}

impl Half {
    fn start(
        name: &'static str,
        server: ActixServer,
        tasks: &Tasks,
        ended: &CancellationToken,
    ) -> Self {
        let handle = server.handle();
        let ended = ended.clone();
        let task = tasks.spawn(name, async move {
            if let Err(cause) = server.await {
                tracing::error!(error = %cause, server = name, "server ended");
            }
            ended.cancel();
        });
        Self { handle, task }
    }

    async fn stop(&self, budget: Duration) -> bool {
        let finished = tokio::time::timeout(budget, self.handle.stop(true)).await.is_ok();
        // A server that is dropped cuts off what is left.
        self.task.abort();
        finished
    }
}

impl Drop for Half {
    fn drop(&mut self) {
        self.task.abort();
    }
}
