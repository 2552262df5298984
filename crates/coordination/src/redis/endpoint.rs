//! Where Redis is, and how a connection to it is opened: one server, the primary that Sentinel names, or a cluster.
//!
//! With Sentinel every new connection asks anew who the primary is, all Sentinels at once, and then asks the server
//! itself. One that is in use asks again each second: a primary that was replaced may be in good health and believe in
//! itself for many seconds. Most of the Sentinels decide; what can't be seen here is an old primary that is cut off
//! together with this client: that is what the fencing token is for.

use std::collections::HashMap;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use millrace_runtime::settings::Secret;
use redis::aio::{MultiplexedConnection, PubSub};
use redis::cluster::ClusterClient;
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ErrorKind, IntoConnectionInfo as _,
    RedisConnectionInfo, RedisResult, TlsCertificates, cmd,
};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout_at};

use super::RedisError;
use super::connection::{RedisConnection, is_primary};
use crate::settings::{RedisMode, RedisSettings, host_and_port};

/// Opens connections.
pub(super) struct Endpoint {
    place: Place,
    access: Access,
    /// What the Sentinels said last, for all connections of the pool.
    named: Mutex<Option<(Instant, Address)>>,
}

/// Host and port.
type Address = (String, u16);

/// Between two questions to the Sentinels on behalf of connections in use.
const NAMED_FOR: Duration = Duration::from_millis(500);

/// After one Sentinel has answered, how long the others may take to outvote it.
const OUTVOTED_WITHIN: Duration = Duration::from_millis(100);

enum Place {
    Single(Client),
    Sentinel {
        sentinels: Vec<Client>,
        master: String,
    },
    /// The nodes are for subscriptions: any node of a cluster passes on what was published at any other.
    Cluster {
        client: Box<ClusterClient>,
        nodes: Vec<Client>,
    },
}

/// What is the same for every server.
struct Access {
    tls: bool,
    tls_ca: Option<Vec<u8>>,
    login: RedisConnectionInfo,
    sentinel_login: RedisConnectionInfo,
    connect_timeout: Duration,
    operation_timeout: Duration,
}

impl Endpoint {
    pub(super) fn new(settings: &RedisSettings) -> Result<Self, RedisError> {
        let access = Access::new(settings)?;
        let place = access.place(settings).map_err(RedisError::Settings)?;
        Ok(Self { place, access, named: Mutex::new(None) })
    }

    /// True when a connection that has not been asked for a while leads to where it should.
    pub(super) async fn confirms(&self, connection: &mut RedisConnection) -> RedisResult<bool> {
        let Place::Sentinel { sentinels, master } = &self.place else {
            return connection.ping().await;
        };
        let (named, is_primary) =
            futures::try_join!(self.named(sentinels, master), is_primary(&mut connection.link))?;
        Ok(is_primary && connection.address.as_ref() == Some(&named))
    }

    async fn named(&self, sentinels: &[Client], master: &str) -> RedisResult<Address> {
        let mut last = self.named.lock().await;
        if let Some((asked, address)) = &*last
            && asked.elapsed() < NAMED_FOR
        {
            return Ok(address.clone());
        }
        let address = self.access.ask_all(sentinels, master).await?;
        *last = Some((Instant::now(), address.clone()));
        Ok(address)
    }

    pub(super) async fn connect(&self) -> RedisResult<RedisConnection> {
        let config = self.access.config();
        Ok(match &self.place {
            Place::Single(client) => RedisConnection::single(
                client.get_multiplexed_async_connection_with_config(&config).await?,
            ),
            Place::Sentinel { sentinels, master } => {
                let (address, _, connection) = self.access.primary(sentinels, master).await?;
                RedisConnection::of_primary(connection, address)
            }
            Place::Cluster { client, .. } => {
                RedisConnection::cluster(client.get_async_connection().await?)
            }
        })
    }

    /// A connection of its own for subscriptions.
    pub(super) async fn subscribe(&self) -> RedisResult<PubSub> {
        match &self.place {
            Place::Single(client) => client.get_async_pubsub().await,
            Place::Sentinel { sentinels, master } => {
                let (_, client, _) = self.access.primary(sentinels, master).await?;
                client.get_async_pubsub().await
            }
            Place::Cluster { nodes, .. } => {
                let mut opening: FuturesUnordered<_> =
                    nodes.iter().map(Client::get_async_pubsub).collect();
                let mut last = no_answer("no node of the cluster is named");
                while let Some(opened) = opening.next().await {
                    match opened {
                        Ok(subscription) => return Ok(subscription),
                        Err(error) => last = error,
                    }
                }
                Err(last)
            }
        }
    }
}

impl Access {
    fn new(settings: &RedisSettings) -> Result<Self, RedisError> {
        let login = login_of(&settings.user, &settings.password, &settings.password_file)?;
        let login = login.set_db(i64::from(settings.database));
        let (user, password) = (&settings.sentinel_user, &settings.sentinel_password);
        // Sentinels have users of their own.
        let sentinel_login = login_of(user, password, &settings.sentinel_password_file)?;
        let tls_ca = match settings.tls_ca_file.as_str() {
            "" => None,
            path => Some(read(path)?.into_bytes()),
        };
        Ok(Self {
            tls: settings.tls,
            tls_ca,
            login,
            sentinel_login,
            connect_timeout: settings.connect_timeout,
            operation_timeout: settings.operation_timeout,
        })
    }

    fn place(&self, settings: &RedisSettings) -> RedisResult<Place> {
        let nodes = || settings.nodes.iter().filter_map(|node| host_and_port(node));
        Ok(match settings.mode {
            RedisMode::Single => {
                Place::Single(self.client(&settings.host, settings.port, self.login.clone())?)
            }
            RedisMode::Sentinel => {
                let asked = nodes()
                    .map(|(host, port)| self.client(host, port, self.sentinel_login.clone()));
                Place::Sentinel {
                    sentinels: asked.collect::<RedisResult<_>>()?,
                    master: settings.sentinel_master.clone(),
                }
            }
            RedisMode::Cluster => {
                let clients: Vec<Client> = nodes()
                    .map(|(host, port)| self.client(host, port, self.login.clone()))
                    .collect::<RedisResult<_>>()?;
                Place::Cluster { client: Box::new(self.cluster(&clients)?), nodes: clients }
            }
        })
    }

    fn client(&self, host: &str, port: u16, login: RedisConnectionInfo) -> RedisResult<Client> {
        let host = host.to_owned();
        let address = if self.tls {
            ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None }
        } else {
            ConnectionAddr::Tcp(host, port)
        };
        let info = address.into_connection_info()?.set_redis_settings(login);
        match self.certificates() {
            None => Client::open(info),
            Some(certificates) => Client::build_with_tls(info, certificates),
        }
    }

    fn cluster(&self, nodes: &[Client]) -> RedisResult<ClusterClient> {
        let infos = nodes.iter().map(|client| client.get_connection_info().clone());
        // Redirects to a moved slot are followed within the operation's own timeout.
        let builder = ClusterClient::builder(infos)
            .connection_timeout(self.connect_timeout)
            .response_timeout(self.operation_timeout)
            .min_retry_wait(10)
            .max_retry_wait(200);
        match self.certificates() {
            None => builder.build(),
            Some(certificates) => builder.certs(certificates).build(),
        }
    }

    fn certificates(&self) -> Option<TlsCertificates> {
        let root_cert = self.tls_ca.clone()?;
        Some(TlsCertificates { client_tls: None, root_cert: Some(root_cert) })
    }

    fn config(&self) -> AsyncConnectionConfig {
        AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.connect_timeout))
            .set_response_timeout(Some(self.operation_timeout))
    }

    /// The server that the Sentinels name, if it says itself that it is the primary.
    async fn primary(
        &self,
        sentinels: &[Client],
        master: &str,
    ) -> RedisResult<(Address, Client, MultiplexedConnection)> {
        let address = self.ask_all(sentinels, master).await?;
        let client = self.client(&address.0, address.1, self.login.clone())?;
        let mut connection =
            client.get_multiplexed_async_connection_with_config(&self.config()).await?;
        if is_primary(&mut connection).await? {
            Ok((address, client, connection))
        } else {
            Err(no_answer("the server that Sentinel names is not a primary"))
        }
    }

    /// What most of the Sentinels say, or most of those that answer soon.
    async fn ask_all(&self, sentinels: &[Client], master: &str) -> RedisResult<Address> {
        let mut asking: FuturesUnordered<_> =
            sentinels.iter().map(|sentinel| self.ask(sentinel, master)).collect();
        let mut votes: HashMap<Address, usize> = HashMap::new();
        let mut last = no_answer("no Sentinel is named");
        let mut until = None;
        loop {
            let answer = match until {
                None => asking.next().await,
                Some(until) => timeout_at(until, asking.next()).await.unwrap_or(None),
            };
            match answer {
                Some(Ok(address)) => {
                    until.get_or_insert_with(|| Instant::now() + OUTVOTED_WITHIN);
                    let count = votes.entry(address.clone()).or_default();
                    *count += 1;
                    if *count * 2 > sentinels.len() {
                        return Ok(address);
                    }
                }
                Some(Err(error)) => last = error,
                None => break,
            }
        }
        votes.into_iter().max_by_key(|(_, count)| *count).map(|(address, _)| address).ok_or(last)
    }

    async fn ask(&self, sentinel: &Client, master: &str) -> RedisResult<Address> {
        let mut connection =
            sentinel.get_multiplexed_async_connection_with_config(&self.config()).await?;
        let named: Option<Address> = cmd("SENTINEL")
            .arg("get-master-addr-by-name")
            .arg(master)
            .query_async(&mut connection)
            .await?;
        named.ok_or_else(|| {
            let text = "a Sentinel doesn't know this primary";
            redis::RedisError::from((ErrorKind::MasterNameNotFoundBySentinel, text))
        })
    }
}

fn no_answer(text: &'static str) -> redis::RedisError {
    redis::RedisError::from((ErrorKind::Io, text))
}

fn login_of(user: &str, password: &Secret, file: &str) -> Result<RedisConnectionInfo, RedisError> {
    let mut login = RedisConnectionInfo::default();
    if !user.is_empty() {
        login = login.set_username(user);
    }
    let password = match file {
        "" => password.expose().to_owned(),
        file => read(file)?.trim_end_matches(['\r', '\n']).to_owned(),
    };
    if !password.is_empty() {
        login = login.set_password(password);
    }
    Ok(login)
}

fn read(path: &str) -> Result<String, RedisError> {
    std::fs::read_to_string(path)
        .map_err(|source| RedisError::File { path: path.to_owned(), source })
}
