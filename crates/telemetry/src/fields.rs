//! Fields of spans and events as JSON, hidden and cut where they must be.

use std::fmt::{self, Write};

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};

use crate::redaction::{HIDDEN, Redaction};

/// What a log line does to its fields.
#[derive(Debug, Clone)]
pub(crate) struct FieldRules {
    pub(crate) redaction: Redaction,
    pub(crate) value_bytes_max: usize,
}

/// Collects one span's or event's fields.
pub(crate) struct Collector<'a> {
    rules: &'a FieldRules,
    pub(crate) fields: Map<String, Value>,
    pub(crate) message: Option<String>,
}

impl<'a> Collector<'a> {
    pub(crate) fn new(rules: &'a FieldRules) -> Self {
        Self { rules, fields: Map::new(), message: None }
    }

    fn put(&mut self, field: &Field, value: Value) {
        let name = field.name();
        // Instructions for the span exporter, not facts.
        if name.starts_with("otel.") {
            return;
        }
        let value = if self.rules.redaction.hides(name) { Value::from(HIDDEN) } else { value };
        self.fields.insert(name.to_owned(), value);
    }

    fn put_text(&mut self, field: &Field, text: String) {
        if field.name() == "message" {
            self.message = Some(text);
        } else {
            self.put(field, Value::from(text));
        }
    }
}

impl Visit for Collector<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let mut text = Bounded::new(self.rules.value_bytes_max);
        // An error here means that the text was cut, or that the value's own formatting failed: what was written
        // so far is still worth a line.
        let complete = write!(text, "{value:?}").is_ok();
        self.put_text(field, text.finish(complete));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let mut text = Bounded::new(self.rules.value_bytes_max);
        let complete = text.write_str(value).is_ok();
        self.put_text(field, text.finish(complete));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.record_str(field, &crate::error_chain(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, Value::from(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, Value::from(value));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, Value::from(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, Value::from(value));
    }
}

/// Takes text up to a number of bytes and refuses the rest, so that a huge value is never built whole.
struct Bounded {
    text: String,
    bytes_max: usize,
}

impl Bounded {
    fn new(bytes_max: usize) -> Self {
        Self { text: String::new(), bytes_max }
    }

    fn finish(mut self, complete: bool) -> String {
        if !complete {
            self.text.push('…');
        }
        self.text
    }
}

impl Write for Bounded {
    fn write_str(&mut self, piece: &str) -> fmt::Result {
        let room = self.bytes_max - self.text.len();
        if piece.len() <= room {
            self.text.push_str(piece);
            return Ok(());
        }
        let cut = (0..=room).rev().find(|&index| piece.is_char_boundary(index)).unwrap_or(0);
        self.text.push_str(&piece[..cut]);
        Err(fmt::Error)
    }
}
