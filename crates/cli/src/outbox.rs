//! `millrace outbox aside`: aggregates that the relay has set aside, and giving them back to it.

use clap::{Args, Subcommand, ValueEnum};
use millrace_common::outbox::aside::{self, Aside, Which};
use millrace_common::outbox::{DatabaseSettings, database};
use sqlx::PgConnection;

/// Services whose database has an outbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum OutboxService {
    Order,
    Inventory,
}

/// What to do with one service's outbox.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Aggregates whose rows failed again and again.
    #[command(subcommand)]
    Aside(AsideCommand),
}

#[derive(Subcommand)]
pub(crate) enum AsideCommand {
    /// Shows what is set aside, since when and why.
    List {
        /// Whose database it is.
        service: OutboxService,
    },
    /// Gives aggregates back to the relay, which publishes their rows in order.
    Release(Release),
}

#[derive(Args)]
pub(crate) struct Release {
    /// Whose database it is.
    service: OutboxService,
    /// The topic of the aggregates.
    #[arg(long, required_unless_present = "all")]
    topic: Option<String>,
    /// One aggregate; without it all of the topic.
    #[arg(long, requires = "topic")]
    aggregate: Option<String>,
    /// Everything that is set aside.
    #[arg(long, conflicts_with = "topic")]
    all: bool,
}

impl Release {
    fn which(&self) -> Which<'_> {
        match (&self.topic, &self.aggregate) {
            (Some(topic), Some(aggregate_id)) => Which::Aggregate { topic, aggregate_id },
            (Some(topic), None) => Which::Topic(topic),
            (None, _) => Which::All,
        }
    }
}

/// Carries out the command; fails when a release found nothing to release.
pub(crate) async fn run(command: &Command, settings: &DatabaseSettings) -> anyhow::Result<()> {
    let Command::Aside(command) = command;
    match command {
        AsideCommand::List { service } => {
            let mut conn = connect(*service, settings).await?;
            let all = aside::list(&mut conn).await?;
            for Aside { topic, aggregateid, since, failures, reason, rows } in &all {
                let since = since.to_rfc3339();
                println!(
                    "{topic} {aggregateid}: {rows} rows since {since}, {failures} failures, {reason}"
                );
            }
            println!("{}: {} aggregates set aside", settings.name, all.len());
        }
        AsideCommand::Release(release) => {
            let mut conn = connect(release.service, settings).await?;
            let released = aside::release(&mut conn, release.which()).await?;
            anyhow::ensure!(released.aggregates > 0, "nothing of that is set aside here");
            println!("{} aggregates released, {} rows", released.aggregates, released.rows);
        }
    }
    Ok(())
}

/// One connection, without the time limits of a service's: an operator waits.
pub(crate) async fn connect(
    service: OutboxService,
    settings: &DatabaseSettings,
) -> Result<PgConnection, database::ConnectOnceError> {
    let application = match service {
        OutboxService::Order => "millrace-order",
        OutboxService::Inventory => "millrace-inventory",
    };
    database::connect_once(settings, application).await
}
