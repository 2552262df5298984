//! Turns what serde says into a field and its problem.

use serde_path_to_error::Path;

use crate::error::FieldProblem;

/// The longest sentence of serde's that is passed on: it may quote the caller's own input.
const PROBLEM_CHARS_MAX: usize = 200;

/// Which field an error is about. serde tells a missing or unknown field by name in the message only, and the
/// path then ends at its parent or already at the field.
pub(super) fn field_problem(path: &Path, message: &str) -> FieldProblem {
    let parent = match path.to_string() {
        dot if dot == "." => String::new(),
        text => text,
    };
    // The position that serde_json appends speaks of a text the reader may not have at hand.
    let message = message.split(" at line ").next().unwrap_or(message);
    if let Some(name) = quoted(message, "missing field `") {
        return FieldProblem { field: join(&parent, name), problem: "is missing".to_owned() };
    }
    if let Some(name) = quoted(message, "unknown field `") {
        let field = if last_name(&parent) == name { parent.clone() } else { join(&parent, name) };
        return FieldProblem { field, problem: "is not known here".to_owned() };
    }
    if let Some(name) = quoted(message, "duplicate field `") {
        let field = if last_name(&parent) == name { parent.clone() } else { join(&parent, name) };
        return FieldProblem { field, problem: "is given twice".to_owned() };
    }
    FieldProblem { field: parent, problem: message.chars().take(PROBLEM_CHARS_MAX).collect() }
}

/// A field that nothing read.
pub(super) fn unknown_field(path: &str) -> FieldProblem {
    FieldProblem { field: path.replace(".?", ""), problem: "is not known here".to_owned() }
}

fn quoted<'a>(message: &'a str, before: &str) -> Option<&'a str> {
    message.strip_prefix(before)?.split('`').next()
}

fn last_name(path: &str) -> &str {
    path.rsplit('.').next().unwrap_or(path)
}

fn join(parent: &str, name: &str) -> String {
    if parent.is_empty() { name.to_owned() } else { format!("{parent}.{name}") }
}
