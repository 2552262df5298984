//! The client behind a producer: the thread that brings its reports, and its replacement when it ends fatally.
//!
//! An idempotent client that meets an error it can't reconcile with its promise (a topic deleted and made again,
//! a producer id the broker has forgotten) refuses everything from then on. It is replaced by a fresh one, and
//! everything it still held is failed to its owners, who know better than this module whether to send it again.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, PoisonError, RwLock, Weak};
use std::thread::{self, ThreadId};
use std::time::Duration;

use rdkafka::config::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, PurgeConfig};

use super::receipt::{Receipt, Reports};
use crate::client::{ClientError, Connection};
use crate::{KafkaSettings, metrics};

/// How long the reports' thread stays in the client when there are none, and so how late it sees a stop.
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// How long a client that ends is given to bring what a purge set free before it is purged again.
const PURGE_INTERVAL: Duration = Duration::from_millis(10);
/// How long the end of a producer waits for the client's threads.
const END_WAIT_MAX: Duration = Duration::from_secs(1);

/// A record with its receipt, as the client takes it.
pub(super) type Record<'a> = BaseRecord<'a, [u8], [u8], Box<Receipt>>;

/// One client. Its reports' thread holds it until each record has had its fate told.
pub(super) struct Client {
    producer: BaseProducer<Reports>,
    retired: AtomicBool,
}

impl Client {
    /// Hands a record over, or gives it back with the reason.
    #[expect(
        clippy::result_large_err,
        reason = "the record goes back by value, as the client gives it"
    )]
    pub(super) fn send<'a>(&self, record: Record<'a>) -> Result<(), (KafkaError, Record<'a>)> {
        let result = self.producer.send(record);
        if let Err((error, _)) = &result {
            self.producer.context().note(error);
        }
        result
    }

    /// True once it takes nothing any more.
    pub(super) fn fatal(&self) -> bool {
        self.producer.context().fatal()
    }
}

pub(super) struct Instance {
    role: &'static str,
    config: ClientConfig,
    connection: Arc<Connection>,
    // A std lock: held to clone or swap a handle, never over an await.
    current: RwLock<Serving>,
    /// Given to the threads of clients to come.
    myself: Weak<Instance>,
}

/// A client and what tells the end of its thread.
struct Serving {
    client: Arc<Client>,
    thread: ThreadId,
    // The receiver alone is not Sync, and the lock's readers share it.
    ended: std::sync::Mutex<Receiver<()>>,
}

impl Instance {
    pub(super) fn start(
        role: &'static str,
        config: ClientConfig,
        settings: &KafkaSettings,
    ) -> Result<Arc<Self>, ClientError> {
        let connection = Connection::new(role, settings);
        let client = create(&config, &connection)?;
        let mut failure = None;
        let instance = Arc::new_cyclic(|myself| {
            let serving = serve(client, myself.clone()).unwrap_or_else(|(error, serving)| {
                failure = Some(error);
                serving
            });
            Self { role, config, connection, current: RwLock::new(serving), myself: myself.clone() }
        });
        match failure {
            None => Ok(instance),
            Some(error) => Err(no_thread(&error)),
        }
    }

    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// A client that takes records, as far as is known.
    pub(super) fn client(&self) -> Arc<Client> {
        let client = self.current();
        if !client.fatal() {
            return client;
        }
        self.replace(&client);
        self.current()
    }

    pub(super) async fn flush(&self, budget: Duration) -> bool {
        let client = self.current();
        // The client's flush blocks its thread.
        let flushed = tokio::task::spawn_blocking(move || client.producer.flush(budget).is_ok());
        flushed.await.unwrap_or(false)
    }

    /// Puts a fresh client in the place of `ended`, unless somebody else was faster.
    pub(super) fn replace(&self, ended: &Arc<Client>) {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        if !Arc::ptr_eq(&current.client, ended) {
            return;
        }
        let (code, reason) = ended.producer.client().fatal_error().unzip();
        let fresh = create(&self.config, &self.connection).and_then(|client| {
            serve(client, self.myself.clone()).map_err(|(error, _)| no_thread(&error))
        });
        match fresh {
            Ok(fresh) => {
                *current = fresh;
                // Its thread fails what it still holds to the owners, and then ends with it.
                ended.retired.store(true, Ordering::Release);
                metrics::rebuilt(self.role);
                tracing::warn!(
                    client = self.role,
                    ?code,
                    reason,
                    "producer ended fatally and was replaced"
                );
            }
            Err(error) => {
                tracing::error!(client = self.role, ?code, reason, %error,
                    "producer ended fatally and was not replaced");
            }
        }
    }

    /// Records without a fate.
    #[cfg(test)]
    pub(super) fn held(&self) -> i32 {
        self.current().producer.in_flight_count()
    }

    #[cfg(test)]
    pub(super) fn end_fatally(&self) {
        crate::ffi::end_fatally(self.current().producer.client());
    }

    fn current(&self) -> Arc<Client> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner).client)
    }
}

impl Drop for Instance {
    /// Waits a moment for the client's threads: a process must not end under the library's feet.
    fn drop(&mut self) {
        let serving = self.current.get_mut().unwrap_or_else(PoisonError::into_inner);
        serving.client.retired.store(true, Ordering::Release);
        // A queue's owner may have held the last handle and drop it on that very thread.
        if serving.thread != thread::current().id() {
            let ended = serving.ended.get_mut().unwrap_or_else(PoisonError::into_inner);
            // Whether it ended or not, there is nothing more to do.
            ended.recv_timeout(END_WAIT_MAX).ok();
        }
    }
}

impl fmt::Debug for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Instance").field("connection", &self.connection).finish_non_exhaustive()
    }
}

fn create(
    config: &ClientConfig,
    connection: &Arc<Connection>,
) -> Result<BaseProducer<Reports>, ClientError> {
    config.create_with_context(Reports::new(Arc::clone(connection))).map_err(ClientError)
}

fn no_thread(error: &io::Error) -> ClientError {
    ClientError(KafkaError::ClientCreation(format!("no thread for its reports: {error}")))
}

/// Starts the thread that brings the reports of `producer`.
fn serve(
    producer: BaseProducer<Reports>,
    instance: Weak<Instance>,
) -> Result<Serving, (io::Error, Serving)> {
    let client = Arc::new(Client { producer, retired: AtomicBool::new(false) });
    let (alive, ended) = channel();
    let served = Arc::clone(&client);
    let thread = thread::Builder::new().name("kafka-reports".to_owned()).spawn(move || {
        bring_reports(&served, &instance);
        drop(served);
        drop(alive);
    });
    let ended = std::sync::Mutex::new(ended);
    match thread {
        Ok(handle) => Ok(Serving { client, thread: handle.thread().id(), ended }),
        Err(error) => Err((error, Serving { client, thread: thread::current().id(), ended })),
    }
}

fn bring_reports(client: &Arc<Client>, instance: &Weak<Instance>) {
    while !client.retired.load(Ordering::Acquire) {
        client.producer.poll(POLL_INTERVAL);
        if client.fatal()
            && let Some(instance) = instance.upgrade()
        {
            instance.replace(client);
        }
    }
    // It takes nothing any more: it refuses everything, or its last user is gone.
    loop {
        client.producer.purge(PurgeConfig::default().queue().inflight());
        client.producer.poll(Duration::ZERO);
        if client.producer.in_flight_count() == 0 {
            return;
        }
        client.producer.poll(PURGE_INTERVAL);
    }
}
