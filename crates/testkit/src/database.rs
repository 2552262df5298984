//! A database per test, cloned from a migrated template.
//!
//! Migrating takes longer than most tests; cloning takes some 30 ms. A template is made once per run and set of
//! migrations, under an advisory lock, because test programs start side by side; its name carries the
//! migrations' hash, so a changed migration is a new template.

use std::time::Duration;

use anyhow::{Context, Result};
use sha2::{Digest as _, Sha256};
use sqlx::migrate::{Migration, Migrator};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, PgConnection, PgPool};

use crate::janitor;
use crate::postgres::{SUPERUSER, bootstrap, connect_options};
use crate::stack::Stack;

/// Test servers trust every password; a settings check may want one that is not empty.
const PASSWORD: &str = "test";

/// A database of one test; dropping it deletes it, with whatever is still connected.
#[derive(Debug)]
pub struct TestDatabase {
    /// The database's name.
    pub name: String,
    /// Where the server listens.
    pub host: String,
    /// Where the server listens.
    pub port: u16,
    /// Owns the tables.
    pub owner: Login,
    /// What the service runs as.
    pub app: Login,
}

/// A role and its password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// The role.
    pub user: String,
    /// Its password.
    pub password: String,
}

impl Login {
    fn of(service: &str, kind: &str) -> Self {
        Self { user: format!("millrace_{service}_{kind}"), password: PASSWORD.to_owned() }
    }
}

impl TestDatabase {
    /// `postgres://...` as the owner.
    #[must_use]
    pub fn owner_url(&self) -> String {
        self.url(&self.owner)
    }

    /// `postgres://...` as the service.
    #[must_use]
    pub fn app_url(&self) -> String {
        self.url(&self.app)
    }

    /// A pool as the service, for tests of stores.
    #[must_use]
    pub fn app_pool(&self) -> PgPool {
        self.pool(&self.app)
    }

    /// A pool as the owner, for looking at what the service may not read and for arranging what it may not write.
    #[must_use]
    pub fn owner_pool(&self) -> PgPool {
        self.pool(&self.owner)
    }

    /// The `[database]` section as environment variables of the service whose prefix is `prefix` (`ORDER`).
    #[must_use]
    pub fn env(&self, prefix: &str) -> Vec<(String, String)> {
        let key = |name: &str| format!("{prefix}__DATABASE__{name}");
        vec![
            (key("HOST"), self.host.clone()),
            (key("PORT"), self.port.to_string()),
            (key("NAME"), self.name.clone()),
            (key("USER"), self.app.user.clone()),
            (key("PASSWORD"), self.app.password.clone()),
            // Many services at once share one server here, and connections are opened when they are needed.
            (key("POOL_MIN"), "1".to_owned()),
            (key("ACQUIRE_TIMEOUT"), "4s".to_owned()),
        ]
    }

    fn url(&self, login: &Login) -> String {
        let Login { user, password } = login;
        format!("postgres://{user}:{password}@{}:{}/{}", self.host, self.port, self.name)
    }

    fn pool(&self, login: &Login) -> PgPool {
        let options = connect_options(self.port, &login.user, &login.password, &self.name);
        PgPoolOptions::new()
            .max_connections(8)
            // A server that a test has stopped should fail the statement, not eat the test's time.
            .acquire_timeout(Duration::from_secs(10))
            .connect_lazy_with(options)
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let (name, options) = (self.name.clone(), superuser(self.port));
        janitor::clean(async move {
            let mut connection = options.connect().await?;
            execute(&mut connection, format!("drop database if exists {name} with (force)"))
                .await?;
            connection.close().await.context("leaving the server")
        });
    }
}

impl Stack {
    /// A database of `service` with all migrations of `migrators` applied. Roles `millrace_<service>_owner` and
    /// `_app` exist as in production (deploy/postgres/bootstrap.sql), for any name.
    ///
    /// # Panics
    /// When the server refuses or a migration fails.
    pub async fn database(&self, service: &str, migrators: &[&Migrator]) -> TestDatabase {
        self.try_database(service, migrators)
            .await
            .unwrap_or_else(|error| panic!("no test database for {service}: {error:?}"))
    }

    async fn try_database(&self, service: &str, migrators: &[&Migrator]) -> Result<TestDatabase> {
        let port = self.addresses().postgres_port;
        let migrations = merge(migrators);
        let database = TestDatabase {
            name: format!("{}_{service}", self.namespace().id()),
            host: "127.0.0.1".to_owned(),
            port,
            owner: Login::of(service, "owner"),
            app: Login::of(service, "app"),
        };
        let mut connection = superuser(port).connect().await.context("connecting as superuser")?;
        let template = template(&mut connection, service, &database, migrations).await?;
        create(&mut connection, &database.name, Some(&template), &database).await?;
        connection.close().await.context("leaving the server")?;
        Ok(database)
    }
}

/// The name of the migrated template, made now if this run has none yet.
async fn template(
    connection: &mut PgConnection,
    service: &str,
    like: &TestDatabase,
    migrations: Vec<Migration>,
) -> Result<String> {
    let name = format!("template_{service}_{}", hash(&migrations));
    if exists(connection, &name).await? {
        return Ok(name);
    }
    lock(connection, &name, true).await?;
    let made = if exists(connection, &name).await? {
        Ok(())
    } else {
        make_template(connection, service, &name, like, migrations).await
    };
    lock(connection, &name, false).await?;
    made.map(|()| name)
}

async fn make_template(
    connection: &mut PgConnection,
    service: &str,
    name: &str,
    like: &TestDatabase,
    migrations: Vec<Migration>,
) -> Result<()> {
    bootstrap(like.port, "", service, None).await?;
    // Migrated under another name first: a run killed half-way leaves nothing that looks finished.
    let draft = format!("{name}_draft");
    execute(connection, format!("drop database if exists {draft} with (force)")).await?;
    create(connection, &draft, None, like).await?;
    let owner = connect_options(like.port, &like.owner.user, &like.owner.password, &draft);
    let mut owner = owner.connect().await.context("connecting as the owner")?;
    let migrator = Migrator::with_migrations(migrations);
    migrator.run(&mut owner).await.with_context(|| format!("migrating {service}"))?;
    owner.close().await.context("leaving the template")?;
    execute(connection, format!("alter database {draft} rename to {name}")).await
}

/// Creates a database with the grants of bootstrap.sql (a clone does not inherit them).
async fn create(
    connection: &mut PgConnection,
    name: &str,
    template: Option<&str>,
    like: &TestDatabase,
) -> Result<()> {
    let (owner, app) = (&like.owner.user, &like.app.user);
    let template = template.unwrap_or("template1");
    execute(connection, format!("create database {name} template {template} owner {owner}"))
        .await?;
    execute(connection, format!("revoke all on database {name} from public")).await?;
    execute(connection, format!("grant connect, temporary on database {name} to {owner}, {app}"))
        .await
}

async fn exists(connection: &mut PgConnection, name: &str) -> Result<bool> {
    sqlx::query_scalar("select exists (select from pg_database where datname = $1)")
        .bind(name)
        .fetch_one(connection)
        .await
        .context("looking for the template")
}

async fn lock(connection: &mut PgConnection, name: &str, take: bool) -> Result<()> {
    let statement = if take {
        "select pg_advisory_lock(hashtext($1))::text"
    } else {
        "select pg_advisory_unlock(hashtext($1))::text"
    };
    sqlx::query(statement).bind(name).execute(connection).await.context("locking the template")?;
    Ok(())
}

/// Runs a statement put together from names that this module made itself.
async fn execute(connection: &mut PgConnection, statement: String) -> Result<()> {
    let context = statement.clone();
    sqlx::query(AssertSqlSafe(statement)).execute(connection).await.context(context)?;
    Ok(())
}

fn superuser(port: u16) -> PgConnectOptions {
    connect_options(port, SUPERUSER, PASSWORD, "postgres")
}

/// All migrations in the order of their versions: crates number theirs below 100, services from 100.
fn merge(migrators: &[&Migrator]) -> Vec<Migration> {
    let mut all: Vec<Migration> =
        migrators.iter().flat_map(|migrator| migrator.iter().cloned()).collect();
    all.sort_by_key(|migration| migration.version);
    all
}

fn hash(migrations: &[Migration]) -> String {
    let mut hasher = Sha256::new();
    for migration in migrations {
        hasher.update(migration.version.to_be_bytes());
        hasher.update(&migration.checksum);
    }
    hasher.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}
