//! Lays the layers over each other and reads the typed settings out of them.

use std::path::PathBuf;

use config::{Config, ConfigError, File, FileFormat, Value, ValueKind};
use serde::de::DeserializeOwned;

use super::{Problems, Validate};

/// More than any settings file has; ends the search for further problems.
const PROBLEMS_MAX: usize = 100;

/// Where one service's settings come from.
#[derive(Debug, Clone)]
pub struct Layers {
    /// Complete TOML texts, one section each.
    pub defaults: Vec<&'static str>,
    /// A TOML file with overrides, if one was given.
    pub overlay: Option<PathBuf>,
    /// Prefix of the environment variables, e.g. `ORDER`.
    pub prefix: &'static str,
    /// The environment, usually [`Layers::process_environment`].
    pub environment: Vec<(String, String)>,
}

impl Layers {
    /// The variables of this process. Ones that are not UTF-8 are passed over: no setting of ours can be meant.
    #[must_use]
    pub fn process_environment() -> Vec<(String, String)> {
        std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect()
    }

    /// The environment's keys as dotted paths with their values.
    fn environment_keys(&self) -> Vec<(String, String)> {
        let prefix = format!("{}__", self.prefix);
        self.environment
            .iter()
            .filter_map(|(name, value)| {
                let key = name.strip_prefix(&prefix)?;
                Some((key.replace("__", ".").to_lowercase(), value.clone()))
            })
            .collect()
    }
}

/// Reads, types and validates the settings.
///
/// # Errors
/// All problems at once: unreadable overlay, unknown keys, wrong types, and what `T::validate` finds.
pub fn load<T: DeserializeOwned + Validate>(layers: &Layers) -> Result<T, Problems> {
    let mut problems = Problems::new();
    let defaults = read_defaults(layers);
    let known = leaves(&defaults);
    let mut overrides: Vec<(String, Value, String)> = Vec::new();
    match read_overlay(layers) {
        Ok(overlay) => overrides.extend(overlay),
        Err(problem) => problems.add("overlay file", problem),
    }
    overrides.extend(layers.environment_keys().into_iter().map(|(key, text)| {
        let value = environment_value(&defaults, &key, text);
        (key, value, format!("environment of {}", layers.prefix))
    }));
    overrides.retain(|(key, _, source)| {
        let is_known = known.iter().any(|leaf| leaf == key);
        problems.require(is_known, key, format!("unknown setting ({source})"));
        is_known
    });
    let typed: Option<T> = read_typed(&defaults, overrides, &mut problems);
    match typed {
        Some(settings) => {
            settings.validate(&mut problems);
            if problems.is_empty() { Ok(settings) } else { Err(problems) }
        }
        None => Err(problems),
    }
}

/// Types the settings; a value that doesn't fit is reported and replaced by its default until the rest fits.
fn read_typed<T: DeserializeOwned>(
    defaults: &Config,
    mut overrides: Vec<(String, Value, String)>,
    problems: &mut Problems,
) -> Option<T> {
    for _ in 0..PROBLEMS_MAX {
        let merged = match merge(defaults, &overrides) {
            Ok(merged) => merged,
            Err(cause) => {
                problems.add("configuration", cause);
                return None;
            }
        };
        match serde_path_to_error::deserialize::<_, T>(merged) {
            Ok(settings) => return Some(settings),
            Err(error) => {
                let path = error.path().to_string();
                problems.add(&path, plain(error.inner()));
                let before = overrides.len();
                overrides
                    .retain(|(key, _, _)| key != &path && !path.starts_with(&format!("{key}[")));
                if overrides.len() == before {
                    return None;
                }
            }
        }
    }
    None
}

/// The environment knows only text: where the default is a list, the text is one, separated by commas.
fn environment_value(defaults: &Config, key: &str, text: String) -> Value {
    if defaults.get_array(key).is_err() {
        return Value::new(None, ValueKind::String(text));
    }
    let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
    Value::new(None, items.map(|item| Value::new(None, item)).collect::<Vec<Value>>())
}

fn merge(defaults: &Config, overrides: &[(String, Value, String)]) -> Result<Config, ConfigError> {
    let mut builder = Config::builder().add_source(defaults.clone());
    for (key, value, _) in overrides {
        builder = builder.set_override(key, value.clone())?;
    }
    builder.build()
}

fn read_defaults(layers: &Layers) -> Config {
    let mut builder = Config::builder();
    for text in &layers.defaults {
        builder = builder.add_source(File::from_str(text, FileFormat::Toml));
    }
    // The texts are compiled in and each is read by a test of its crate.
    builder.build().expect("compiled-in defaults are valid TOML")
}

fn read_overlay(layers: &Layers) -> Result<Vec<(String, Value, String)>, ConfigError> {
    let Some(path) = &layers.overlay else { return Ok(Vec::new()) };
    let file = File::from(path.as_path()).format(FileFormat::Toml).required(true);
    let overlay = Config::builder().add_source(file).build()?;
    let source = path.display().to_string();
    let mut found = Vec::new();
    collect_leaves("", &overlay.cache, &mut |key, value| {
        found.push((key.to_owned(), value.clone(), source.clone()));
    });
    Ok(found)
}

fn leaves(config: &Config) -> Vec<String> {
    let mut found = Vec::new();
    collect_leaves("", &config.cache, &mut |key, _| found.push(key.to_owned()));
    found
}

fn collect_leaves(path: &str, value: &Value, found: &mut impl FnMut(&str, &Value)) {
    if let ValueKind::Table(table) = &value.kind {
        for (key, inner) in table {
            let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            collect_leaves(&path, inner, found);
        }
    } else {
        found(path, value);
    }
}

fn plain(error: &ConfigError) -> String {
    // This variant carries the key again, which the problem's line already starts with.
    if let ConfigError::At { error, .. } = error { plain(error) } else { error.to_string() }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde::Deserialize;

    use super::*;
    use crate::settings::{ByteSize, Secret};

    const DEFAULTS: &str = r#"
        [http]
        port = 8080
        timeout = "5s"
        body_max = "16KiB"
        origins = ["https://a.example"]
        [database]
        password = ""
    "#;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Sample {
        http: Http,
        database: Database,
    }
    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Http {
        port: u16,
        #[serde(with = "crate::settings::duration")]
        timeout: Duration,
        body_max: ByteSize,
        origins: Vec<String>,
    }
    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Database {
        password: Secret,
    }
    impl Validate for Sample {
        fn validate(&self, problems: &mut Problems) {
            problems.require(!self.database.password.is_empty(), "database.password", "is not set");
        }
    }

    fn layers(environment: &[(&str, &str)]) -> Layers {
        Layers {
            defaults: vec![DEFAULTS],
            overlay: None,
            prefix: "SAMPLE",
            environment: environment
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect(),
        }
    }

    #[test]
    fn the_environment_overrides_the_defaults_and_keeps_text_as_text() {
        let settings: Sample =
            load(&layers(&[("SAMPLE__HTTP__PORT", "9"), ("SAMPLE__DATABASE__PASSWORD", "0123")]))
                .unwrap();
        assert_eq!(settings.http.port, 9);
        assert_eq!(settings.http.timeout, Duration::from_secs(5));
        assert_eq!(settings.http.body_max.as_u64(), 16 * 1024);
        assert_eq!(settings.http.origins, ["https://a.example"]);
        assert_eq!(settings.database.password.expose(), "0123");
    }

    #[test]
    fn a_list_from_the_environment_is_separated_by_commas() {
        let settings: Sample = load(&layers(&[
            ("SAMPLE__HTTP__ORIGINS", "https://b.example, https://c.example"),
            ("SAMPLE__DATABASE__PASSWORD", "x"),
        ]))
        .unwrap();
        assert_eq!(settings.http.origins, ["https://b.example", "https://c.example"]);
    }

    #[test]
    fn every_problem_is_reported_in_one_go() {
        let problems = load::<Sample>(&layers(&[
            ("SAMPLE__HTTP__PORT", "eighty"),
            ("SAMPLE__HTTP__TIMEOUT", "5"),
            ("SAMPLE__HTTP__BODY_MAX", "much"),
            ("SAMPLE__HTTP__PROT", "1"),
        ]))
        .unwrap_err();
        let text = problems.to_string();
        for key in ["http.port", "http.timeout", "http.body_max", "http.prot", "database.password"]
        {
            assert!(text.contains(key), "{key} is missing in: {text}");
        }
        assert_eq!(problems.lines().len(), 5);
    }
}
