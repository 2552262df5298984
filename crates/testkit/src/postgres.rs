//! A real PostgreSQL: from an empty directory to a server that answers.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _};
use tokio::process::Command;

use crate::launch::{Launch, Lifetime};
use crate::secret_file;
use crate::server::Server;
use crate::wait::try_wait_until;

/// The role that owns the cluster; services never use it.
pub const SUPERUSER: &str = "postgres";
const START_LIMIT: Duration = Duration::from_secs(30);

/// A data directory and the programs for it.
#[derive(Debug, Clone)]
pub struct PostgresHome {
    programs: PathBuf,
    data: PathBuf,
    log: PathBuf,
    user: Option<&'static str>,
}

/// How the server treats its clients and its disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tuning {
    /// Data that is thrown away: no fsync (a killed server loses nothing, only a power cut would), no passwords.
    Test,
    /// Data that a person wants to find again.
    Keep,
    /// For benchmarks: on the disk as in production (fsync, full pages), thrown away all the same. Commit times are
    /// kept, because only they tell when a row became visible.
    Durable,
}

impl PostgresHome {
    /// The home under `directory`. PostgreSQL refuses to run as root, so root uses the package's own account.
    ///
    /// # Errors
    /// When PostgreSQL is not installed.
    pub fn at(directory: &Path, log: PathBuf) -> Result<Self> {
        let user = nix::unistd::geteuid().is_root().then_some(SUPERUSER);
        Ok(Self { programs: programs()?, data: directory.join("data"), log, user })
    }

    /// Creates the cluster; one that exists stays.
    ///
    /// # Errors
    /// When the directory can't be prepared or `initdb` fails.
    pub async fn init(&self, tuning: Tuning, superuser_password: Option<&str>) -> Result<()> {
        if self.data.join("PG_VERSION").exists() {
            return Ok(());
        }
        std::fs::create_dir_all(&self.data).context("creating PostgreSQL's directory")?;
        std::fs::set_permissions(&self.data, std::fs::Permissions::from_mode(0o700))?;
        let mut arguments = vec!["--no-sync".to_owned(), "--no-locale".to_owned()];
        arguments.extend(["--encoding=UTF8".to_owned(), format!("--username={SUPERUSER}")]);
        match tuning {
            Tuning::Test | Tuning::Durable => arguments.push("--auth=trust".to_owned()),
            Tuning::Keep => arguments.push("--auth=scram-sha-256".to_owned()),
        }
        self.hand_over(&self.data)?;
        let password_file = self.data.with_extension("password");
        if let Some(password) = superuser_password {
            secret_file::write(&password_file, password.as_bytes())?;
            self.hand_over(&password_file)?;
            arguments.push(format!("--pwfile={}", password_file.display()));
        }
        let mut command = self.command("initdb");
        command.args(arguments).arg("--pgdata").arg(&self.data);
        let made = run("initdb", command).await;
        std::fs::remove_file(&password_file).ok();
        made
    }

    /// What starts the server.
    #[must_use]
    pub fn launch(&self, port: u16, tuning: Tuning, lifetime: Lifetime) -> Launch {
        let mut options = vec![
            "listen_addresses=127.0.0.1",
            // Clients come by TCP as in production; a socket would need a directory both accounts may use.
            "unix_socket_directories=",
            "timezone=UTC",
            "log_line_prefix=%m [%p] %d ",
        ];
        match tuning {
            Tuning::Test => options.extend([
                "fsync=off",
                "full_page_writes=off",
                "max_connections=400",
                "shared_buffers=128MB",
                "max_wal_size=2GB",
                "wal_level=minimal",
                "max_wal_senders=0",
                "autovacuum_naptime=10s",
            ]),
            Tuning::Keep => options.extend(["max_connections=200", "shared_buffers=256MB"]),
            Tuning::Durable => options.extend([
                "max_connections=200",
                "shared_buffers=256MB",
                "max_wal_size=2GB",
                "track_commit_timestamp=on",
            ]),
        }
        Launch::new(self.programs.join("postgres"), &self.log, lifetime)
            .user(self.user)
            .args(["-D", &self.data.display().to_string(), "-p", &port.to_string()])
            .args(options.into_iter().flat_map(|option| ["-c", option]))
    }

    /// Makes `path` belong to the account that PostgreSQL runs as.
    fn hand_over(&self, path: &Path) -> Result<()> {
        let Some(user) = self.user else { return Ok(()) };
        let account = nix::unistd::User::from_name(user)
            .context("looking up the postgres account")?
            .context("there is no postgres account: install the postgresql package")?;
        nix::unistd::chown(path, Some(account.uid), Some(account.gid))
            .with_context(|| format!("handing {} to {user}", path.display()))
    }

    fn command(&self, program: &str) -> Command {
        let program = self.programs.join(program);
        let mut command = match self.user {
            None => Command::new(program),
            Some(user) => {
                let mut command = Command::new("setpriv");
                command.args([format!("--reuid={user}"), format!("--regid={user}")]);
                command.args(["--init-groups", "--"]).arg(program).current_dir("/");
                command
            }
        };
        command.kill_on_drop(true);
        command
    }
}

/// A directory that the PostgreSQL account can reach: the wished one, or one beside the system's temporary
/// files when a closed directory (a checkout in /root) lies on the way.
#[must_use]
pub fn reachable(wished: PathBuf, fallback: impl FnOnce() -> PathBuf) -> PathBuf {
    let root = nix::unistd::geteuid().is_root();
    let open = |directory: &Path| {
        directory.metadata().map_or(true, |entry| entry.permissions().mode() & 0o001 != 0)
    };
    if root && !wished.ancestors().skip(1).all(open) { fallback() } else { wished }
}

/// Options to connect as `user`.
#[must_use]
pub fn connect_options(port: u16, user: &str, password: &str, database: &str) -> PgConnectOptions {
    PgConnectOptions::new()
        .host("127.0.0.1")
        .port(port)
        .username(user)
        .password(password)
        .database(database)
        .disable_statement_logging()
}

/// Waits until the server lets `options` in.
///
/// # Errors
/// The last refusal when it doesn't in time, or `check`'s error at once.
pub async fn wait_ready(options: &PgConnectOptions, check: impl Fn() -> Result<()>) -> Result<()> {
    try_wait_until(START_LIMIT, || async {
        if let Err(gone) = check() {
            return Ok(Err(gone));
        }
        match options.connect().await {
            Ok(connection) => Ok(connection.close().await.context("closing the first connection")),
            Err(refused) => Err(refused.to_string()),
        }
    })
    .await
    .map_err(|last| anyhow::anyhow!("PostgreSQL did not start: {last}"))?
}

/// Runs deploy/postgres/bootstrap.sql: roles and databases of `services`, with passwords from `passwords`, a
/// JSON file `{role: password}` that psql reads itself, so that no password shows in a process list.
///
/// # Errors
/// When psql fails; its words are in the error.
pub async fn bootstrap(
    port: u16,
    superuser_password: &str,
    services: &str,
    passwords: Option<&Path>,
) -> Result<()> {
    let script = crate::workspace::root().join("deploy/postgres/bootstrap.sql");
    let mut command = Command::new(programs()?.join("psql"));
    command
        .args(["--no-psqlrc", "--quiet", "--host=127.0.0.1", "--dbname=postgres"])
        .args([format!("--port={port}"), format!("--username={SUPERUSER}")])
        .args(["-v".to_owned(), format!("services={services}")])
        .env("PGPASSWORD", superuser_password)
        .kill_on_drop(true);
    if let Some(file) = passwords {
        command.args(["-v".to_owned(), format!("passwords_file={}", file.display())]);
    }
    command.arg("--file").arg(script);
    run("psql", command).await
}

/// Runs a program to its end; its output goes into the error.
pub(crate) async fn run(name: &str, mut command: Command) -> Result<()> {
    let output = command.output().await.with_context(|| format!("running {name}"))?;
    anyhow::ensure!(
        output.status.success(),
        "{name} failed ({}):\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

/// The newest installed major version's programs; Debian keeps them out of the path.
///
/// # Errors
/// When PostgreSQL is not installed.
pub fn programs() -> Result<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let newest = versions
        .filter_map(|entry| {
            let version: u32 = entry.file_name().to_str()?.parse().ok()?;
            let programs = entry.path().join("bin");
            programs.join("initdb").is_file().then_some((version, programs))
        })
        .max_by_key(|(version, _)| *version);
    if let Some((_, programs)) = newest {
        return Ok(programs);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .find(|directory| directory.join("initdb").is_file())
        .context("PostgreSQL is not installed: apt-get install postgresql")
}

/// The PostgreSQL of a test stack.
pub struct Postgres {
    port: u16,
    server: Server,
}

impl Postgres {
    pub(crate) async fn start_in(
        directory: &Path,
        log: PathBuf,
        port: u16,
        tuning: Tuning,
    ) -> Result<Self> {
        let home = PostgresHome::at(directory, log)?;
        home.init(tuning, None).await?;
        // SIGINT is PostgreSQL's fast stop; SIGQUIT ends it at once and still frees its shared memory.
        let server = Server::new("postgres", Signal::SIGINT, move || {
            home.launch(port, tuning, Lifetime::WithParent(Signal::SIGQUIT))
        });
        let postgres = Self { port, server };
        postgres.start().await?;
        Ok(postgres)
    }

    /// Starts it after a stop or kill, and waits until it answers.
    ///
    /// # Errors
    /// When it doesn't.
    pub async fn start(&self) -> Result<()> {
        self.server.start()?;
        let options = connect_options(self.port, SUPERUSER, "", "postgres");
        wait_ready(&options, || self.server.check()).await
    }

    /// Stops it in the orderly way: clients are disconnected, data is complete.
    ///
    /// # Errors
    /// When the wait for its end breaks.
    pub async fn stop(&self) -> Result<()> {
        self.server.stop().await
    }

    /// Ends it as a crash would; it recovers from its log at the next start.
    pub fn kill(&self) {
        self.server.kill(Signal::SIGQUIT);
    }

    /// Stop and start.
    ///
    /// # Errors
    /// When it doesn't come back.
    pub async fn restart(&self) -> Result<()> {
        self.stop().await?;
        self.start().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn behind_a_closed_directory_the_data_goes_elsewhere_when_another_account_needs_it() {
        let closed = tempfile::tempdir().unwrap();
        let mode = std::fs::Permissions::from_mode(0o700);
        std::fs::set_permissions(closed.path(), mode).unwrap();
        let wished = closed.path().join("postgres");
        let elsewhere = PathBuf::from("/var/tmp/elsewhere");
        let place = reachable(wished.clone(), || elsewhere.clone());
        let root = nix::unistd::geteuid().is_root();
        assert_eq!(place, if root { elsewhere.clone() } else { wished });
        assert_eq!(reachable("/tmp/open".into(), || elsewhere), Path::new("/tmp/open"));
    }
}
