//! `millrace topics`: the table in contracts, laid onto a cluster.

use std::collections::BTreeMap;
use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use millrace_common::messaging::KafkaSettings;
use millrace_common::messaging::admin::{Difference, TopicAdmin, TopicConfig};
use millrace_contracts::topics::{self, Cleanup, TopicSpec};

/// What to do with the topics.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Makes missing topics and sets their configuration; exits with 1 when something is left that only a
    /// migration can change.
    Ensure(Options),
    /// Says what differs and changes nothing; exits with 1 when something does.
    Diff(Options),
}

#[derive(Args)]
pub(crate) struct Options {
    /// Which column of the table applies.
    #[arg(long, value_enum, default_value = "production")]
    profile: Profile,
}

#[derive(Clone, Copy, ValueEnum)]
enum Profile {
    Production,
    Local,
    Test,
}

/// Carries out the command.
pub(crate) async fn run(command: Command, settings: KafkaSettings) -> anyhow::Result<ExitCode> {
    let admin = TopicAdmin::new(&settings)?;
    let left = match command {
        Command::Ensure(options) => {
            let wanted = wanted(options.profile);
            let report = admin.ensure(&wanted).await?;
            println!(
                "{} topics: {} made, {} configured anew",
                wanted.len(),
                report.created.len(),
                report.altered.len()
            );
            report.left
        }
        Command::Diff(options) => admin.diff(&wanted(options.profile)).await?,
    };
    Ok(say(&left))
}

fn say(left: &[Difference]) -> ExitCode {
    for difference in left {
        println!("{difference}");
    }
    if left.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn wanted(profile: Profile) -> Vec<TopicConfig> {
    let profile = match profile {
        Profile::Production => topics::Profile::Production,
        Profile::Local => topics::Profile::Local,
        Profile::Test => topics::Profile::Test,
    };
    topics::all_specs().into_iter().map(|spec| config_of(spec, profile)).collect()
}

fn config_of(spec: TopicSpec, profile: topics::Profile) -> TopicConfig {
    let mut configs = BTreeMap::new();
    configs.insert("min.insync.replicas".to_owned(), profile.min_in_sync().to_string());
    configs.insert("max.message.bytes".to_owned(), spec.record_bytes_max.to_string());
    match spec.cleanup {
        Cleanup::Delete => {
            configs.insert("cleanup.policy".to_owned(), "delete".to_owned());
            configs.insert("retention.ms".to_owned(), spec.retention_ms.to_string());
        }
        Cleanup::Compact => {
            configs.insert("cleanup.policy".to_owned(), "compact".to_owned());
        }
    }
    TopicConfig {
        name: spec.name,
        partitions: profile.partitions(),
        replication: profile.replication(),
        configs,
    }
}
