//! The span sink process of the native stack.

use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use millrace_testkit::otlp::journal::Journal;
use millrace_testkit::otlp::{Receiver, Sink};
use tokio::signal::unix::{SignalKind, signal};

use crate::layout;
use crate::ports::Ports;

pub(crate) async fn run() -> Result<ExitCode> {
    let journal = Mutex::new(Journal::open(&layout::traces())?);
    let sink: Sink = Arc::new(move |spans| {
        let mut journal = journal.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = journal.append(&spans) {
            eprintln!("{} spans were not kept: {error:#}", spans.len());
        }
    });
    let receiver = Receiver::start(Ports::load()?.get("OTLP_PORT")?, sink)?;
    println!("receiving spans at {}", receiver.endpoint());
    let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    terminate.recv().await;
    Ok(ExitCode::SUCCESS)
}
