//! docs/configuration.md: every setting, read out of the commented defaults that the services compile in.

use millrace_common::{coordination, http, messaging, outbox, request_log, scheduler, telemetry};
use toml_edit::{DocumentMut, Item, Table, Value};

/// Sections that several services share, each in the crate that reads it.
const SHARED: [&str; 10] = [
    http::HTTP_DEFAULTS,
    http::AUTH_DEFAULTS,
    telemetry::DEFAULTS,
    millrace_common::SHUTDOWN_DEFAULTS,
    outbox::DATABASE_DEFAULTS,
    outbox::RELAY_DEFAULTS,
    messaging::DEFAULTS,
    request_log::DEFAULTS,
    coordination::DEFAULTS,
    scheduler::DEFAULTS,
];

/// Each service's prefix and own defaults.
const SERVICES: &[(&str, &str, &str)] = &[
    ("order", "ORDER", include_str!("../../../../services/order/config/default.toml")),
    ("inventory", "INVENTORY", include_str!("../../../../services/inventory/config/default.toml")),
    ("gateway", "GATEWAY", include_str!("../../../../services/gateway/config/default.toml")),
    ("audit", "AUDIT", include_str!("../../../../services/audit/config/default.toml")),
    (
        "log-ingest",
        "LOG_INGEST",
        include_str!("../../../../services/log-ingest/config/default.toml"),
    ),
];

/// The page.
pub(super) fn page() -> String {
    let mut text = String::from(
        "# Configuration\n\n\
         Made by `make docs` from the defaults that are compiled in; don't edit.\n\n\
         A service reads its defaults, then the TOML file given with `--config`, then the environment.\n\
         The variable of a key is `<SERVICE>__<SECTION>__<KEY>`, e.g. `ORDER__HTTP__PORT`; a list is separated by commas.\n\
         Unknown keys are refused, every problem is reported at once, and the exit code is then 78.\n\
         Durations are texts such as `250ms`, sizes such as `16KiB`.\n\n\
         ## Sections that services share\n",
    );
    for defaults in SHARED {
        write_sections(&mut text, defaults);
    }
    for (service, prefix, defaults) in SERVICES {
        text.push_str(&format!("\n## {service}\n\nPrefix `{prefix}`; what differs from the shared defaults, and its own sections.\n"));
        write_sections(&mut text, defaults);
    }
    text
}

fn write_sections(text: &mut String, defaults: &str) {
    // The texts are compiled in; each is read by a test of the crate that owns it.
    let document: DocumentMut = defaults.parse().expect("compiled-in defaults are valid TOML");
    for (section, item) in document.iter() {
        if let Item::Table(table) = item {
            write_table(text, section, table);
        }
    }
}

fn write_table(text: &mut String, section: &str, table: &Table) {
    text.push_str(&format!(
        "\n### [{section}]\n\n| key | default | what it does |\n|---|---|---|\n"
    ));
    let mut inner = Vec::new();
    for (key, item) in table.iter() {
        match item {
            Item::Value(value) => {
                let decor = table.key(key).map(|key| key.leaf_decor());
                let comment = decor.and_then(|decor| decor.prefix()?.as_str()).unwrap_or_default();
                text.push_str(&format!(
                    "| `{key}` | `{}` | {} |\n",
                    shown(value),
                    sentence(comment)
                ));
            }
            Item::Table(table) => inner.push((format!("{section}.{key}"), table)),
            Item::None | Item::ArrayOfTables(_) => {}
        }
    }
    for (section, table) in inner {
        write_table(text, &section, table);
    }
}

fn shown(value: &Value) -> String {
    let mut value = value.clone();
    value.decor_mut().clear();
    value.to_string().replace('|', "\\|")
}

fn sentence(comment: &str) -> String {
    let lines: Vec<&str> = comment
        .lines()
        .map(|line| line.trim().trim_start_matches('#').trim())
        .filter(|line| !line.is_empty())
        .collect();
    lines.join(" ").replace('|', "\\|")
}
