//! `devstack`: the native stack behind `make up`, and the shared stack behind `make test`.
//!
//! It starts real servers and the real services as background processes, remembers them by pid and start
//! time, and stops exactly those. It holds nothing in memory between commands: what runs is read from
//! .local/run each time. It refuses to touch processes that it did not start.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line tool talks")]

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod api;
mod components;
mod containers;
mod daemon;
mod databases;
mod demo;
mod down;
mod environment;
mod infrastructure;
mod layout;
mod logs;
mod otlp_sink;
mod pay;
mod ports;
mod products;
mod secrets;
mod services;
mod status;
mod token;
mod trace;
mod up;
mod with_stack;

#[derive(Parser)]
#[command(
    name = "devstack",
    about = "The local stack: PostgreSQL, Redis, Kafka and the five services"
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start everything and wait until it is ready; what runs already stays
    Up,
    /// Stop what was started; data stays
    Down {
        /// Delete the data, logs, traces and secrets too
        #[arg(long)]
        wipe: bool,
    },
    /// Show what runs
    Status,
    /// Follow the logs of everything, or of one component
    Logs {
        /// gateway, order, inventory, audit, log-ingest, postgres, redis, kafka or otlp-sink
        component: Option<String>,
    },
    /// Print a token for the local services
    Token(token::Options),
    /// Play the payment provider: tell the order service how a payment ended
    Pay(pay::Options),
    /// Print the span tree of an order id or a trace id
    Trace {
        /// An order's id, or 32 hexadecimal digits
        id: String,
    },
    /// Play the order flow in every variant and check that the books balance
    Demo,
    /// Start one test stack, run a command with it, stop it
    WithStack {
        /// The command and its arguments, after --
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
    /// Receive spans and keep them in .local/traces (started by `up`)
    #[command(hide = true)]
    OtlpSink,
}

#[tokio::main]
async fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Up => up::run().await,
        Command::Down { wipe } => down::run(wipe).await,
        Command::Status => status::run().await,
        Command::Logs { component } => logs::run(component.as_deref()),
        Command::Token(options) => token::run(&options),
        Command::Pay(options) => pay::run(options).await,
        Command::Trace { id } => trace::run(&id).await,
        Command::Demo => demo::run().await,
        Command::WithStack { command } => with_stack::run(&command).await,
        Command::OtlpSink => otlp_sink::run().await,
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
