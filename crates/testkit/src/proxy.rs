//! A TCP proxy that breaks connections on demand, between one client and one server.
//!
//! Killing a server breaks everybody's connections at once and in both directions; networks do worse. Behind this
//! proxy a connection can be cut, frozen one way or both, slowed down or reset, while the server and its other
//! clients feel nothing. It works on bytes and knows no protocol. Frozen bytes are kept, not dropped: TCP would send
//! them again anyway. What it can't do is lose packets below TCP, so a frozen client sees its bytes acknowledged.
//!
//! It runs on a thread of its own, so that it outlives the runtime of the test that started it.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use millrace_runtime::CancellationToken;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

const CHUNK_BYTES: usize = 64 * 1024;
/// Chunks on their way in one direction; a full way stops the sender, as a full socket does.
const CHUNKS_MAX: usize = 64;

/// A direction through the proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// What the client sends.
    ToServer,
    /// What the server sends.
    ToClient,
    /// Everything.
    Both,
}

impl Way {
    fn covers(self, way: Self) -> bool {
        self == Self::Both || self == way
    }
}

/// What happens to connections now.
#[derive(Debug, Clone, Copy, Default)]
struct Weather {
    refuses: bool,
    frozen: Option<Way>,
    delay: Duration,
    /// Connections that were made under an earlier number are reset.
    life: u64,
}

impl Weather {
    fn freezes(&self, way: Way) -> bool {
        self.frozen.is_some_and(|frozen| frozen.covers(way))
    }
}

/// A running proxy in front of a port of this machine; it ends when dropped, and its connections with it.
#[derive(Debug)]
pub struct FaultProxy {
    port: u16,
    weather: watch::Sender<Weather>,
    connections: Arc<AtomicUsize>,
    stop: CancellationToken,
}

impl FaultProxy {
    /// Starts one in front of `server_port`; nothing needs to listen there yet.
    ///
    /// # Errors
    /// When no port or thread is left.
    pub fn start(server_port: u16) -> Result<Self> {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .context("binding the fault proxy")?;
        listener.set_nonblocking(true).context("preparing the fault proxy")?;
        let port = listener.local_addr().context("reading the fault proxy's port")?.port();
        let (weather, seen) = watch::channel(Weather::default());
        let (connections, stop) = (Arc::new(AtomicUsize::new(0)), CancellationToken::new());
        let (counted, stopped) = (Arc::clone(&connections), stop.clone());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("building the fault proxy's runtime")?;
        std::thread::Builder::new()
            .name(format!("fault-proxy-{port}"))
            .spawn(move || {
                runtime.block_on(async {
                    let accepting = accept(listener, server_port, seen, counted);
                    tokio::select! {
                        () = stopped.cancelled() => {}
                        () = accepting => {}
                    }
                });
            })
            .context("starting the fault proxy")?;
        Ok(Self { port, weather, connections, stop })
    }

    /// Where it listens.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where it listens, as clients' settings want it.
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Ends every fault; what was frozen goes on.
    pub fn pass(&self) {
        self.weather.send_modify(|weather| {
            *weather = Weather { life: weather.life, ..Weather::default() };
        });
    }

    /// Resets the connections and refuses new ones.
    pub fn cut(&self) {
        self.weather.send_modify(|weather| {
            weather.refuses = true;
            weather.life += 1;
        });
    }

    /// Resets the connections there are; new ones pass.
    pub fn reset(&self) {
        self.weather.send_modify(|weather| weather.life += 1);
    }

    /// Holds back what goes this way, on old connections and on new ones: they are open and silent.
    pub fn freeze(&self, way: Way) {
        self.weather.send_modify(|weather| weather.frozen = Some(way));
    }

    /// Makes everything take so much longer, each way.
    pub fn delay(&self, delay: Duration) {
        self.weather.send_modify(|weather| weather.delay = delay);
    }

    /// The connections that are open now.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn accept(
    listener: std::net::TcpListener,
    server_port: u16,
    weather: watch::Receiver<Weather>,
    connections: Arc<AtomicUsize>,
) {
    let Ok(listener) = TcpListener::from_std(listener) else { return };
    let mut open = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                // A client that went away between connecting and being accepted is nobody's concern.
                if let Ok((client, _)) = accepted {
                    let life = Life { weather: weather.clone(), connections: Arc::clone(&connections) };
                    open.spawn(life.connection(client, server_port));
                }
            }
            Some(_) = open.join_next() => {}
        }
    }
}

/// One connection's view of the weather, and its place in the count.
struct Life {
    weather: watch::Receiver<Weather>,
    connections: Arc<AtomicUsize>,
}

impl Life {
    async fn connection(self, client: TcpStream, server_port: u16) {
        let born = *self.weather.borrow();
        if born.refuses {
            reset(&client);
            return;
        }
        let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, server_port)).await else {
            reset(&client);
            return;
        };
        client.set_nodelay(true).ok();
        server.set_nodelay(true).ok();
        self.connections.fetch_add(1, Ordering::SeqCst);
        let broken = self.carry(client, server, born.life).await;
        self.connections.fetch_sub(1, Ordering::SeqCst);
        if let Some((client, server)) = broken {
            reset(&client);
            reset(&server);
        }
    }

    /// Carries both directions; returns the sockets when they are to be reset.
    async fn carry(
        &self,
        client: TcpStream,
        server: TcpStream,
        life: u64,
    ) -> Option<(TcpStream, TcpStream)> {
        let (mut from_client, mut to_client) = client.into_split();
        let (mut from_server, mut to_server) = server.into_split();
        let (up, down, mut weather) =
            (self.weather.clone(), self.weather.clone(), self.weather.clone());
        let passing = async {
            tokio::try_join!(
                pump(&mut from_client, &mut to_server, Way::ToServer, up),
                pump(&mut from_server, &mut to_client, Way::ToClient, down),
            )
        };
        let broken = tokio::select! {
            passed = passing => passed.is_err(),
            _ = weather.wait_for(|now| now.life != life) => true,
        };
        if !broken {
            return None;
        }
        Some((from_client.reunite(to_client).ok()?, from_server.reunite(to_server).ok()?))
    }
}

/// The peer learns at once and gets nothing of what is still on its way.
fn reset(stream: &TcpStream) {
    // Fails on a socket that is closed already, and then there is nothing to reset.
    stream.set_zero_linger().ok();
}

/// Carries one direction until its sender closes it.
async fn pump(
    from: &mut OwnedReadHalf,
    to: &mut OwnedWriteHalf,
    way: Way,
    weather: watch::Receiver<Weather>,
) -> std::io::Result<()> {
    let (sender, queue) = mpsc::channel(CHUNKS_MAX);
    tokio::try_join!(take(from, sender, weather.clone()), put(to, queue, way, weather)).map(|_| ())
}

/// When a chunk may leave, and its bytes.
type Chunk = (Instant, Vec<u8>);

async fn take(
    from: &mut OwnedReadHalf,
    sender: mpsc::Sender<Chunk>,
    weather: watch::Receiver<Weather>,
) -> std::io::Result<()> {
    let mut bytes = vec![0; CHUNK_BYTES];
    loop {
        let count = from.read(&mut bytes).await?;
        let due = Instant::now() + weather.borrow().delay;
        if count == 0 || sender.send((due, bytes[..count].to_vec())).await.is_err() {
            return Ok(());
        }
    }
}

async fn put(
    to: &mut OwnedWriteHalf,
    mut queue: mpsc::Receiver<Chunk>,
    way: Way,
    mut weather: watch::Receiver<Weather>,
) -> std::io::Result<()> {
    while let Some((due, bytes)) = queue.recv().await {
        tokio::time::sleep_until(due).await;
        // The sender of the weather is gone when the proxy is: the connection ends with it.
        if weather.wait_for(|now| !now.freezes(way)).await.is_err() {
            return Ok(());
        }
        to.write_all(&bytes).await?;
    }
    // Its end waits for the thaw as its bytes do.
    drop(weather.wait_for(|now| !now.freezes(way)).await);
    to.shutdown().await
}
