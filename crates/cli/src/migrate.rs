//! `millrace migrate`: every service's migrations are compiled in, so that one image can bring all databases up
//! to date before the services start.

use clap::ValueEnum;
use millrace_common::outbox::{self, DatabaseSettings};
use millrace_common::{coordination, scheduler};
use sqlx::migrate::Migrator;

static ORDER: Migrator = sqlx::migrate!("../../services/order/migrations");
static INVENTORY: Migrator = sqlx::migrate!("../../services/inventory/migrations");
static AUDIT: Migrator = sqlx::migrate!("../../services/audit/migrations");
static LOG_INGEST: Migrator = sqlx::migrate!("../../services/log-ingest/migrations");

/// What to migrate; where the database is, is said by the settings.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Whose database it is.
    service: Service,
}

#[derive(Clone, Copy, ValueEnum)]
enum Service {
    Order,
    Inventory,
    Audit,
    LogIngest,
}

impl Service {
    /// The chassis' tables that the service uses, and its own.
    fn migrator(self) -> Migrator {
        match self {
            Self::Order => with_scheduler(&ORDER),
            Self::Inventory => with_scheduler(&INVENTORY),
            Self::Audit => outbox::migrator(&[&AUDIT]),
            Self::LogIngest => with_scheduler(&LOG_INGEST),
        }
    }
}

/// The service's own set behind those of the outbox, the fence and the scheduler.
fn with_scheduler(own: &Migrator) -> Migrator {
    outbox::migrator(&[&outbox::MIGRATIONS, &coordination::MIGRATIONS, &scheduler::MIGRATIONS, own])
}

/// Runs the migrations that are missing.
pub(crate) async fn run(
    arguments: &Arguments,
    settings: &DatabaseSettings,
) -> Result<(), outbox::MigrateFailed> {
    let migrator = arguments.service.migrator();
    outbox::migrate(settings, &migrator).await?;
    println!("{}: {} migrations in place", settings.name, migrator.iter().count());
    Ok(())
}
