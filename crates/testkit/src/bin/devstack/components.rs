//! Every component of the native stack by name: the five services and what they stand on.

use anyhow::Result;

use crate::ports::Ports;

/// One of the five services.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Service {
    /// Its name in pid files, logs and commands.
    pub(crate) name: &'static str,
    /// Its binary.
    pub(crate) binary: &'static str,
    /// What its environment variables and its ports in ports.env start with.
    pub(crate) prefix: &'static str,
    /// Its database's name after `millrace_`, if it has one.
    pub(crate) database: Option<&'static str>,
}

/// The services in the order in which they are started; the gateway, which lets requests in, is the last.
pub(crate) const SERVICES: [Service; 5] = [
    Service {
        name: "log-ingest",
        binary: "millrace-log-ingest",
        prefix: "LOG_INGEST",
        database: Some("logs"),
    },
    Service { name: "audit", binary: "millrace-audit", prefix: "AUDIT", database: Some("audit") },
    Service {
        name: "inventory",
        binary: "millrace-inventory",
        prefix: "INVENTORY",
        database: Some("inventory"),
    },
    Service { name: "order", binary: "millrace-order", prefix: "ORDER", database: Some("order") },
    Service { name: "gateway", binary: "millrace-gateway", prefix: "GATEWAY", database: None },
];

impl Service {
    pub(crate) fn port(&self, ports: &Ports) -> Result<u16> {
        ports.get(&format!("{}_PORT", self.prefix))
    }

    pub(crate) fn admin_port(&self, ports: &Ports) -> Result<u16> {
        ports.get(&format!("{}_ADMIN_PORT", self.prefix))
    }
}

/// A server below the services, with the names of its ports in ports.env; the first is the one it serves.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Infrastructure {
    pub(crate) name: &'static str,
    pub(crate) ports: &'static [&'static str],
}

pub(crate) const POSTGRES: Infrastructure =
    Infrastructure { name: "postgres", ports: &["POSTGRES_PORT"] };
pub(crate) const REDIS: Infrastructure = Infrastructure { name: "redis", ports: &["REDIS_PORT"] };
pub(crate) const KAFKA: Infrastructure =
    Infrastructure { name: "kafka", ports: &["KAFKA_PORT", "KAFKA_CONTROLLER_PORT"] };
pub(crate) const OTLP_SINK: Infrastructure =
    Infrastructure { name: "otlp-sink", ports: &["OTLP_PORT"] };

/// Them all.
pub(crate) const INFRASTRUCTURE: [Infrastructure; 4] = [OTLP_SINK, KAFKA, REDIS, POSTGRES];
