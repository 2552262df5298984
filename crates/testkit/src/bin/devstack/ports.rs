//! deploy/local/ports.env, the one file with every port.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use millrace_testkit::workspace;

/// Ports by their name in the file.
#[derive(Debug, Clone)]
pub(crate) struct Ports(BTreeMap<String, u16>);

impl Ports {
    pub(crate) fn load() -> Result<Self> {
        let path = workspace::root().join("deploy/local/ports.env");
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("reading {}", path.display()))?;
        Self::parse(&text)
    }

    fn parse(text: &str) -> Result<Self> {
        let lines =
            text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let pairs = lines.map(|line| {
            let (name, value) =
                line.split_once('=').with_context(|| format!("no `=` in {line:?}"))?;
            let port = value.trim().parse().with_context(|| format!("no port in {line:?}"))?;
            Ok((name.trim().to_owned(), port))
        });
        Ok(Self(pairs.collect::<Result<_>>().context("reading ports.env")?))
    }

    /// The port of that name.
    pub(crate) fn get(&self, name: &str) -> Result<u16> {
        self.0.get(name).copied().with_context(|| format!("ports.env has no {name}"))
    }

    /// All of them, for a compose file's variables.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&str, u16)> {
        self.0.iter().map(|(name, port)| (name.as_str(), *port))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_of_the_repository_names_every_port_once() {
        let ports = Ports::load().unwrap();
        let distinct: std::collections::BTreeSet<u16> = ports.all().map(|(_, port)| port).collect();
        assert_eq!(distinct.len(), ports.all().count());
        assert_eq!(ports.get("GATEWAY_PORT").unwrap(), 8080);
        assert!(ports.get("NONE").is_err());
    }

    #[test]
    fn a_line_without_a_port_is_named() {
        let error = format!("{:#}", Ports::parse("# fine\nORDER_PORT=many").unwrap_err());
        assert!(error.contains("ORDER_PORT=many"), "{error}");
    }
}
