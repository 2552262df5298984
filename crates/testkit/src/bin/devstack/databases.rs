//! Roles, databases, tables and topics, by the same tools that a cluster uses.

use anyhow::Result;
use millrace_testkit::{postgres, workspace};
use tokio::process::Command;

use crate::components::{SERVICES, Service};
use crate::ports::Ports;
use crate::secrets::Secrets;

/// Roles and databases, then every service's migrations, then the topics. Repeating it changes nothing.
pub(crate) async fn prepare(ports: &Ports, secrets: &Secrets) -> Result<()> {
    let port = ports.get("POSTGRES_PORT")?;
    let databases: Vec<&str> = SERVICES.iter().filter_map(|service| service.database).collect();
    let all = databases.join(" ");
    postgres::bootstrap(port, &secrets.postgres, &all, Some(&secrets.roles_file)).await?;
    for service in SERVICES {
        if let Some(database) = service.database {
            migrate(port, service, database, secrets).await?;
        }
    }
    ensure_topics(ports).await
}

async fn migrate(port: u16, service: Service, database: &str, secrets: &Secrets) -> Result<()> {
    let role = format!("millrace_{database}_owner");
    let mut command = millrace()?;
    // The password goes by the environment: a command line is open to everyone on the machine.
    command.args(["migrate", service.name]).envs([
        ("MILLRACE__DATABASE__HOST", "127.0.0.1"),
        ("MILLRACE__DATABASE__PORT", &port.to_string()),
        ("MILLRACE__DATABASE__NAME", &format!("millrace_{database}")),
        ("MILLRACE__DATABASE__USER", &role),
        ("MILLRACE__DATABASE__PASSWORD", secrets.password(&role)?),
    ]);
    run(command, &format!("migrating {database}")).await
}

/// Creates the topics that are missing, by the topic table's local sizes.
async fn ensure_topics(ports: &Ports) -> Result<()> {
    let mut command = millrace()?;
    command.args(["topics", "ensure", "--profile", "local"]);
    command.env("MILLRACE__KAFKA__BROKERS", format!("127.0.0.1:{}", ports.get("KAFKA_PORT")?));
    run(command, "creating the topics").await
}

fn millrace() -> Result<Command> {
    let mut command = Command::new(workspace::binary("millrace")?);
    command.kill_on_drop(true);
    Ok(command)
}

async fn run(mut command: Command, what: &str) -> Result<()> {
    let output = command.output().await?;
    anyhow::ensure!(
        output.status.success(),
        "{what} failed ({}):\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
