//! One service as a process: how it is started, found and asked.

use std::sync::atomic::{AtomicU16, Ordering};

use millrace_testkit::ports;
use millrace_testkit::process::Process;
use tokio::sync::Mutex;

use crate::PATIENCE;

/// A service's process, which can be killed and started again at the same ports.
pub struct Service {
    binary: &'static str,
    prefix: &'static str,
    environment: Vec<(String, String)>,
    port: AtomicU16,
    admin_port: AtomicU16,
    process: Mutex<Option<Process>>,
}

impl Service {
    /// A service that is not running yet. `environment` holds keys without the prefix: `("KAFKA__BROKERS", ..)`.
    #[must_use]
    pub fn new(
        binary: &'static str,
        prefix: &'static str,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Self {
        let [port, admin_port] = ports::free().expect("the machine has free ports");
        let environment = environment.into_iter();
        Self {
            binary,
            prefix,
            environment: environment
                .map(|(key, value)| (format!("{prefix}__{key}"), value))
                .collect(),
            port: AtomicU16::new(port),
            admin_port: AtomicU16::new(admin_port),
            process: Mutex::new(None),
        }
    }

    /// Where it takes requests.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port.load(Ordering::SeqCst))
    }

    /// Where its probes, health and metrics are.
    #[must_use]
    pub fn admin_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.admin_port.load(Ordering::SeqCst))
    }

    /// Starts the process without waiting for it.
    pub async fn launch(&self) {
        let own = [
            ("HTTP__BIND", "127.0.0.1".to_owned()),
            ("HTTP__PORT", self.port.load(Ordering::SeqCst).to_string()),
            ("HTTP__ADMIN_PORT", self.admin_port.load(Ordering::SeqCst).to_string()),
        ];
        let own = own.map(|(key, value)| (format!("{}__{key}", self.prefix), value));
        let environment = self.environment.iter().cloned().chain(own);
        let process = Process::start(self.binary, environment).expect("the binary was built");
        *self.process.lock().await = Some(process);
    }

    /// Starts the process and waits until it is ready.
    pub async fn start(&self) {
        self.launch().await;
        self.wait_ready().await;
    }

    /// Waits until it takes requests.
    pub async fn wait_ready(&self) {
        let url = format!("{}/readyz", self.admin_url());
        self.process
            .lock()
            .await
            .as_ref()
            .expect("it was started")
            .wait_ready(&url, PATIENCE)
            .await;
    }

    /// Ends it as a power cut would.
    pub async fn kill_9(&self) {
        self.process.lock().await.take().expect("it was started").kill_9();
    }

    /// Asks it to stop and waits for the end; the exit code.
    pub async fn stop(&self) -> Option<i32> {
        let process = self.process.lock().await.take().expect("it was started");
        process.sigterm();
        process.wait_exit(PATIENCE).await.code()
    }

    /// Asks it to stop and doesn't wait.
    pub async fn ask_to_stop(&self) {
        self.process.lock().await.as_ref().expect("it was started").sigterm();
    }

    /// Waits for the end of a process that was asked to stop; the exit code.
    pub async fn wait_exit(&self) -> Option<i32> {
        let process = self.process.lock().await.take().expect("it was started");
        process.wait_exit(PATIENCE).await.code()
    }

    /// Everything it has printed so far.
    pub async fn output(&self) -> String {
        self.process.lock().await.as_ref().map(Process::output).unwrap_or_default()
    }

    /// Its memory in use in bytes; `None` when it doesn't run.
    pub async fn resident_bytes(&self) -> Option<u64> {
        self.process.lock().await.as_ref().and_then(Process::resident_bytes)
    }

    /// Its metrics page.
    pub async fn metrics(&self) -> String {
        let page = reqwest::get(format!("{}/metrics", self.admin_url())).await;
        page.expect("the admin port answers").text().await.expect("metrics are text")
    }
}
