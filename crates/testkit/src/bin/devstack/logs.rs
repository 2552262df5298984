//! `devstack logs`: follows the output of everything or of one component.

use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};

use crate::components::{INFRASTRUCTURE, SERVICES};
use crate::layout;

pub(crate) fn run(component: Option<&str>) -> Result<ExitCode> {
    let services = SERVICES.iter().map(|service| service.name);
    let known: Vec<&str> =
        services.chain(INFRASTRUCTURE.iter().map(|server| server.name)).collect();
    let chosen = match component {
        Some(name) => {
            anyhow::ensure!(
                known.contains(&name),
                "no such component; there are: {}",
                known.join(", ")
            );
            vec![name]
        }
        None => known,
    };
    let files: Vec<PathBuf> =
        chosen.into_iter().map(layout::log).filter(|file| file.exists()).collect();
    anyhow::ensure!(!files.is_empty(), "no logs yet: run `make up`");
    // tail takes this process's place, so that Ctrl-C ends it and nothing is left behind.
    let failed = Command::new("tail").args(["-n", "30", "-F"]).args(files).exec();
    Err(failed).context("running tail")
}
