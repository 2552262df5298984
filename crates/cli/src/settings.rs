//! The connection settings of the command: the sections that services use, under the prefix MILLRACE.

use std::path::PathBuf;

use millrace_common::messaging::{self, KafkaSettings};
use millrace_common::outbox::{self, DatabaseSettings};
use millrace_common::runtime::settings::{Layers, Problems, Validate, load};
use serde::Deserialize;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sections {
    kafka: KafkaSettings,
    database: DatabaseSettings,
}

impl Validate for Sections {
    /// Nothing here: a command checks only the section that it uses.
    fn validate(&self, _problems: &mut Problems) {}
}

/// The checked `[kafka]` section.
pub(crate) fn kafka(overlay: Option<PathBuf>) -> Result<KafkaSettings, Problems> {
    let kafka = sections(overlay)?.kafka;
    checked(kafka, KafkaSettings::validate)
}

/// The checked `[database]` section.
pub(crate) fn database(overlay: Option<PathBuf>) -> Result<DatabaseSettings, Problems> {
    let database = sections(overlay)?.database;
    checked(database, DatabaseSettings::validate)
}

fn sections(overlay: Option<PathBuf>) -> Result<Sections, Problems> {
    load(&Layers {
        defaults: vec![messaging::DEFAULTS, outbox::DATABASE_DEFAULTS],
        overlay,
        prefix: "MILLRACE",
        environment: Layers::process_environment(),
    })
}

fn checked<T>(section: T, validate: impl Fn(&T, &mut Problems)) -> Result<T, Problems> {
    let mut problems = Problems::new();
    validate(&section, &mut problems);
    if problems.is_empty() { Ok(section) } else { Err(problems) }
}
