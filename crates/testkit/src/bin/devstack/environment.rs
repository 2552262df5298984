//! The settings that the local stack gives to each service: addresses, passwords, keys. All else is default.

use anyhow::Result;

use crate::components::Service;
use crate::ports::Ports;
use crate::secrets::Secrets;

/// Long enough for a person to pay by hand, short enough to watch an order expire.
pub(crate) const PAY_WITHIN: &str = "1m";

type Variables = Vec<(String, String)>;

/// `PREFIX__SECTION__KEY` pairs of one service.
pub(crate) fn environment(service: Service, ports: &Ports, secrets: &Secrets) -> Result<Variables> {
    let mut variables = common(service, ports)?;
    if let Some(database) = service.database {
        let role = format!("millrace_{database}_app");
        variables.extend([
            ("DATABASE__HOST", "127.0.0.1".to_owned()),
            ("DATABASE__PORT", ports.get("POSTGRES_PORT")?.to_string()),
            ("DATABASE__NAME", format!("millrace_{database}")),
            ("DATABASE__PASSWORD", secrets.password(&role)?.to_owned()),
            ("DATABASE__USER", role),
        ]);
    }
    let jwks = secrets.jwks_file.display().to_string();
    variables.push(("AUTH__JWKS_FILE", jwks));
    if ["order", "inventory", "log-ingest"].contains(&service.name) {
        variables.push(("REDIS__HOST", "127.0.0.1".to_owned()));
        variables.push(("REDIS__PORT", ports.get("REDIS_PORT")?.to_string()));
    }
    match service.name {
        "order" => {
            variables.push(("ORDER__PAYMENT_SECRET", secrets.payment_hmac.clone()));
            variables.push(("ORDER__CURSOR_SECRET", secrets.cursor.clone()));
            variables.push(("ORDER__PAY_WITHIN", PAY_WITHIN.to_owned()));
        }
        "audit" | "log-ingest" => {
            variables.push(("SEARCH__CURSOR_SECRET", secrets.cursor.clone()));
        }
        "gateway" => variables.extend(upstreams(ports)?),
        _ => {}
    }
    let named = |(key, value): (&str, String)| (format!("{}__{key}", service.prefix), value);
    Ok(variables.into_iter().map(named).collect())
}

fn common(service: Service, ports: &Ports) -> Result<Vec<(&'static str, String)>> {
    Ok(vec![
        ("HTTP__BIND", "127.0.0.1".to_owned()),
        ("HTTP__PORT", service.port(ports)?.to_string()),
        ("HTTP__ADMIN_PORT", service.admin_port(ports)?.to_string()),
        ("KAFKA__BROKERS", format!("127.0.0.1:{}", ports.get("KAFKA_PORT")?)),
        ("TELEMETRY__OTLP_ENDPOINT", format!("http://127.0.0.1:{}", ports.get("OTLP_PORT")?)),
        // No load balancer has to notice first.
        ("SHUTDOWN__DRAIN_DELAY", "0s".to_owned()),
    ])
}

fn upstreams(ports: &Ports) -> Result<Vec<(&'static str, String)>> {
    let url = |name: &str| ports.get(name).map(|port| format!("http://127.0.0.1:{port}"));
    Ok(vec![
        ("UPSTREAMS__ORDER", url("ORDER_PORT")?),
        ("UPSTREAMS__INVENTORY", url("INVENTORY_PORT")?),
        ("UPSTREAMS__AUDIT", url("AUDIT_PORT")?),
        ("UPSTREAMS__LOG_INGEST", url("LOG_INGEST_PORT")?),
    ])
}
