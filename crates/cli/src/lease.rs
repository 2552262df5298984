//! `millrace lease`: who may act now, asked of a running instance.

use clap::{Args, Subcommand};
use serde::Deserialize;

/// What to do with a service's leases.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Shows each lease: who holds it, its token, its waiters, and the highest token its sink has seen.
    List(List),
}

#[derive(Args)]
pub(crate) struct List {
    /// The admin port of any instance of the service, e.g. `http://localhost:9101`.
    #[arg(long)]
    url: reqwest::Url,
}

#[derive(Deserialize)]
struct Reply {
    data: Leases,
}

#[derive(Deserialize)]
struct Leases {
    redis: bool,
    database: bool,
    leases: Vec<Lease>,
}

#[derive(Deserialize)]
struct Lease {
    name: String,
    held: Option<Held>,
    waiters: Option<usize>,
    sink: Option<Sink>,
}

#[derive(Deserialize)]
struct Held {
    holder: String,
    token: i64,
    age_ms: u64,
    remaining_ms: u64,
}

#[derive(Deserialize)]
struct Sink {
    token: i64,
    holder: String,
}

/// Carries out the command.
pub(crate) async fn run(command: &Command) -> anyhow::Result<()> {
    let Command::List(List { url }) = command;
    let reply = reqwest::get(url.join("actuator/leases")?).await?.error_for_status()?;
    let Leases { redis, database, leases } = reply.json::<Reply>().await?.data;
    for lease in &leases {
        println!("{}", line(lease, redis));
    }
    if !redis {
        println!("Redis doesn't answer: holders and waiters are unknown");
    }
    if !database {
        println!("the database doesn't answer: what the sinks have seen is unknown");
    }
    println!("{} leases", leases.len());
    Ok(())
}

fn line(lease: &Lease, redis: bool) -> String {
    let held = match &lease.held {
        Some(Held { holder, token, age_ms, remaining_ms }) => {
            format!("{holder} token {token}, for {age_ms} ms, {remaining_ms} ms left")
        }
        None if redis => "free".to_owned(),
        None => "unknown".to_owned(),
    };
    let waiters = lease.waiters.map(|waiters| format!(", {waiters} waiting")).unwrap_or_default();
    let sink = match &lease.sink {
        Some(Sink { token, holder }) => format!(", sink saw {token} of {holder}"),
        None => String::new(),
    };
    format!("{}: {held}{waiters}{sink}", lease.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_one_line_with_what_is_known() {
        let held = Held { holder: "a".into(), token: 7, age_ms: 5, remaining_ms: 9 };
        let sink = Sink { token: 6, holder: "b".into() };
        let lease =
            Lease { name: "x".into(), held: Some(held), waiters: Some(2), sink: Some(sink) };
        assert_eq!(
            line(&lease, true),
            "x: a token 7, for 5 ms, 9 ms left, 2 waiting, sink saw 6 of b"
        );
        let lease = Lease { name: "x".into(), held: None, waiters: None, sink: None };
        assert_eq!(line(&lease, false), "x: unknown");
        assert_eq!(line(&lease, true), "x: free");
    }
}
