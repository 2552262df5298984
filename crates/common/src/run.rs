//! From the command line to the exit code.

use std::path::PathBuf;
use std::process::ExitCode;

use millrace_runtime::settings::{Layers, Problems, load};
use tokio::signal::unix::{SignalKind, signal};

use crate::{Application, ServiceSettings, StartError};

/// The configuration is wrong (sysexits.h `EX_CONFIG`); restarting without changing it is useless.
const EXIT_CONFIGURATION: u8 = 78;

/// Reads and checks a service's settings: its defaults, an overlay file, the environment.
///
/// # Errors
/// Every problem at once.
pub fn load_settings<S: ServiceSettings>(
    overlay: Option<PathBuf>,
    environment: Vec<(String, String)>,
) -> Result<S, Problems> {
    load(&Layers { defaults: S::DEFAULTS.to_vec(), overlay, prefix: S::ENV_PREFIX, environment })
}

/// A service's whole `main`: settings, start, run until SIGTERM or SIGINT, stop in phases.
///
/// The only argument is `--config FILE`, a TOML file that overrides defaults and is overridden by the
/// environment. Exit codes: 0 stopped as asked, 1 could not start or stop cleanly, 78 wrong configuration.
pub fn run<S, B, F>(build: B) -> ExitCode
where
    S: ServiceSettings,
    B: FnOnce(S) -> F,
    F: Future<Output = Result<Application, StartError>>,
{
    let settings = overlay_argument()
        .and_then(|overlay| load_settings::<S>(overlay, Layers::process_environment()));
    let settings = match settings {
        Ok(settings) => settings,
        Err(problems) => {
            // There is no logger before there are settings.
            complain(&format!("{}: {problems}", S::SERVICE));
            return ExitCode::from(EXIT_CONFIGURATION);
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(cause) => {
            complain(&format!("{}: the async runtime could not be started: {cause}", S::SERVICE));
            return ExitCode::FAILURE;
        }
    };
    runtime.block_on(serve(settings, build))
}

async fn serve<S, B, F>(settings: S, build: B) -> ExitCode
where
    S: ServiceSettings,
    B: FnOnce(S) -> F,
    F: Future<Output = Result<Application, StartError>>,
{
    let telemetry = match millrace_telemetry::init(S::SERVICE, settings.base().telemetry) {
        Ok(guard) => guard,
        Err(cause) => {
            complain(&format!("{}: {}", S::SERVICE, millrace_telemetry::error_chain(&cause)));
            return ExitCode::FAILURE;
        }
    };
    tracing::info!(settings = ?settings, "starting with these settings");
    let code = match build(settings).await {
        Ok(application) => run_until_signal(application).await,
        Err(cause) => {
            tracing::error!(error = millrace_telemetry::error_chain(&cause), "could not start");
            ExitCode::FAILURE
        }
    };
    telemetry.shutdown();
    code
}

async fn run_until_signal(application: Application) -> ExitCode {
    let (mut terminate, mut interrupt) =
        match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
            (Ok(terminate), Ok(interrupt)) => (terminate, interrupt),
            (Err(cause), _) | (_, Err(cause)) => {
                tracing::error!(error = %cause, "signals can't be received");
                return ExitCode::FAILURE;
            }
        };
    tokio::select! {
        _ = terminate.recv() => tracing::info!("SIGTERM received, stopping"),
        _ = interrupt.recv() => tracing::info!("SIGINT received, stopping"),
        () = application.failed() => {
            tracing::error!("a port stopped answering, stopping");
            application.stop().await;
            return ExitCode::FAILURE;
        }
    }
    if application.stop().await { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn overlay_argument() -> Result<Option<PathBuf>, Problems> {
    let mut arguments = std::env::args_os().skip(1);
    match (arguments.next(), arguments.next(), arguments.next()) {
        (None, ..) => Ok(None),
        (Some(flag), Some(file), None) if flag == "--config" => Ok(Some(PathBuf::from(file))),
        _ => {
            let mut problems = Problems::new();
            problems.add("command line", "the only argument is --config FILE");
            Err(problems)
        }
    }
}

#[expect(clippy::print_stderr, reason = "said before there is a logger, or because there is none")]
fn complain(text: &str) {
    eprintln!("{text}");
}
