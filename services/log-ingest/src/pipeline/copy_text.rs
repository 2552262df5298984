//! Lines as PostgreSQL's COPY text format:
//! <https://www.postgresql.org/docs/current/sql-copy.html#SQL-COPY-FILE-FORMATS>.
//!
//! A column ends with a tab and a row with a line feed, so these two, the carriage return and the backslash are
//! written with a backslash inside a value; `\N` alone is null. A value can't imitate any of them: each backslash
//! of its own is doubled. All other bytes stand for themselves (the connection is UTF-8).

use chrono::SecondsFormat;

use super::line::Line;

/// The rows of a COPY: id, time, service, level, method, route, status, latency, trace id, caller.
pub(super) fn encode(lines: &[Line]) -> Vec<u8> {
    let mut rows = String::with_capacity(lines.len() * 192);
    for line in lines {
        let occurred_at = line.occurred_at.to_rfc3339_opts(SecondsFormat::Micros, true);
        rows.push_str(&format!("{}\t{occurred_at}\t", line.id));
        for value in [&line.service, line.level.as_str(), &line.method, &line.route] {
            escape(&mut rows, value);
            rows.push('\t');
        }
        rows.push_str(&format!("{}\t{}\t", line.status, line.latency_us));
        nullable(&mut rows, line.trace_id.as_deref());
        rows.push('\t');
        nullable(&mut rows, line.caller.as_deref());
        rows.push('\n');
    }
    rows.into_bytes()
}

fn nullable(rows: &mut String, value: Option<&str>) {
    match value {
        None => rows.push_str("\\N"),
        Some(value) => escape(rows, value),
    }
}

fn escape(rows: &mut String, value: &str) {
    for character in value.chars() {
        match character {
            '\\' => rows.push_str("\\\\"),
            '\t' => rows.push_str("\\t"),
            '\n' => rows.push_str("\\n"),
            '\r' => rows.push_str("\\r"),
            other => rows.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::line::tests::envelope;
    use super::*;

    #[test]
    fn a_value_can_not_imitate_a_separator_or_null() {
        let envelope = envelope(|logged| {
            logged.route = "/\t\n\r\\.\\N".into();
            logged.caller = Some("\\N".into());
            logged.trace_id = None;
        });
        let rows = encode(&[Line::parse(&envelope).unwrap()]);
        assert_eq!(
            String::from_utf8(rows).unwrap(),
            "00000000-0000-0000-0000-000000000000\t2023-11-14T22:13:20.123000Z\torder\tINFO\tPOST\t\
             /\\t\\n\\r\\\\.\\\\N\t202\t1234\t\\N\t\\\\N\n"
        );
    }
}
