//! `millrace epochs`: who owned a partition last, for sinks without an inbox, and making every owner prove it again.

use clap::{Args, Subcommand};
use millrace_common::outbox::{DatabaseSettings, epoch};

use crate::outbox::{OutboxService, connect};

/// What to do with the epochs of one service's database.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Shows each partition's newest epoch.
    List {
        /// Whose database it is.
        service: OutboxService,
    },
    /// Raises epochs, so that each owner is refused at its next write and draws anew. Harmless to a healthy owner.
    Reset(Reset),
}

#[derive(Args)]
pub(crate) struct Reset {
    /// Whose database it is.
    service: OutboxService,
    /// The consumer group, e.g. `inventory.tally`.
    #[arg(long)]
    group: String,
    /// The topic's logical name.
    #[arg(long)]
    topic: String,
    /// One partition; without it all of the topic.
    #[arg(long)]
    partition: Option<i32>,
}

/// Carries out the command; fails when a reset met no epoch.
pub(crate) async fn run(command: &Command, settings: &DatabaseSettings) -> anyhow::Result<()> {
    let shown = match command {
        Command::List { service } => {
            let mut conn = connect(*service, settings).await?;
            epoch::list(&mut conn).await?
        }
        Command::Reset(Reset { service, group, topic, partition }) => {
            let mut conn = connect(*service, settings).await?;
            let raised = epoch::reset(&mut conn, group, topic, *partition).await?;
            anyhow::ensure!(!raised.is_empty(), "group `{group}` has no epoch for `{topic}` here");
            raised
        }
    };
    for epoch::EpochStatus { consumer_group, topic, partition, epoch, drawn_at } in &shown {
        println!("{consumer_group} {topic}/{partition}: {epoch}, drawn {}", drawn_at.to_rfc3339());
    }
    println!("{}: {} epochs", settings.name, shown.len());
    Ok(())
}
