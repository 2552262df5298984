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

/// Fields as they were recorded, in order.
///
/// A span has fields for the few lines that may be written inside it, and most spans see none: what costs time, hiding
/// values by their names and sorting them, waits until a line is written. Hidden values never leave this type.
pub(crate) struct Fields(Vec<(&'static str, Value)>);

impl Fields {
    /// Takes what was recorded later.
    pub(crate) fn append(&mut self, mut later: Self) {
        self.0.append(&mut later.0);
    }

    /// Puts them into a line over those that are there, later ones over earlier ones.
    pub(crate) fn write(&self, line: &mut Map<String, Value>, redaction: &Redaction) {
        for (name, value) in &self.0 {
            let shown = if redaction.hides(name) { Value::from(HIDDEN) } else { value.clone() };
            line.insert((*name).to_owned(), shown);
        }
    }
}

/// Collects one span's or event's fields.
pub(crate) struct Collector<'a> {
    rules: &'a FieldRules,
    pub(crate) fields: Fields,
    pub(crate) message: Option<String>,
}

impl<'a> Collector<'a> {
    /// `room` is how many fields there will be at most.
    pub(crate) fn new(rules: &'a FieldRules, room: usize) -> Self {
        Self { rules, fields: Fields(Vec::with_capacity(room)), message: None }
    }

    fn put(&mut self, field: &Field, value: Value) {
        if !is_instruction(field) {
            self.fields.0.push((field.name(), value));
        }
    }

    fn put_text(&mut self, field: &Field, text: String) {
        if field.name() == "message" {
            self.message = Some(text);
        } else {
            self.put(field, Value::from(text));
        }
    }
}

/// True for what tells the span exporter something and is no fact.
fn is_instruction(field: &Field) -> bool {
    field.name().starts_with("otel.")
}

impl Visit for Collector<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if is_instruction(field) {
            return;
        }
        let mut text = Bounded::new(self.rules.value_bytes_max);
        // An error here means that the text was cut, or that the value's own formatting failed: what was written
        // so far is still worth a line.
        let complete = write!(text, "{value:?}").is_ok();
        self.put_text(field, text.finish(complete));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if is_instruction(field) {
            return;
        }
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
