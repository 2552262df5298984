//! A trace as an indented tree, with when each span began and how long it took.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::SpanRecord;

/// The spans of one trace in their order. A span whose parent was not received is shown as a root.
#[derive(Debug, Clone)]
pub struct SpanTree {
    spans: Vec<SpanRecord>,
    children: BTreeMap<String, Vec<usize>>,
    roots: Vec<usize>,
}

impl SpanTree {
    /// Builds the tree; a span received twice counts once.
    #[must_use]
    pub fn of(mut spans: Vec<SpanRecord>) -> Self {
        let mut seen = BTreeSet::new();
        spans.retain(|span| seen.insert(span.span_id.clone()));
        spans.sort_by_key(|span| span.start_ns);
        let mut children: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        let mut roots = Vec::new();
        for (index, span) in spans.iter().enumerate() {
            if seen.contains(&span.parent_span_id) {
                children.entry(span.parent_span_id.clone()).or_default().push(index);
            } else {
                roots.push(index);
            }
        }
        Self { spans, children, roots }
    }

    /// How many spans it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// True when nothing was received.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// Spans without a received parent: one in a complete trace that began here.
    #[must_use]
    pub fn roots(&self) -> Vec<&SpanRecord> {
        self.roots.iter().map(|index| &self.spans[*index]).collect()
    }

    /// The services that took part, each once.
    #[must_use]
    pub fn services(&self) -> BTreeSet<&str> {
        self.spans.iter().map(|span| span.service.as_str()).collect()
    }

    fn write_span(
        &self,
        f: &mut fmt::Formatter<'_>,
        index: usize,
        indent: &str,
        branch: &str,
        origin_ns: u64,
    ) -> fmt::Result {
        let span = &self.spans[index];
        let offset = milliseconds(span.start_ns.saturating_sub(origin_ns));
        let duration = milliseconds(span.end_ns.saturating_sub(span.start_ns));
        write!(f, "{offset:>9.1} {duration:>8.1}  {indent}{branch}")?;
        write!(f, "{}: {} ({})", span.service, span.name, span.kind)?;
        if !span.links.is_empty() {
            write!(f, " links={}", span.links.len())?;
        }
        if span.error {
            write!(f, " ERROR {}", span.status_message)?;
        }
        writeln!(f)?;
        let below = match branch {
            "" => indent.to_owned(),
            "└─ " => format!("{indent}   "),
            _ => format!("{indent}│  "),
        };
        let children = self.children.get(&span.span_id).map_or(&[][..], Vec::as_slice);
        for (position, child) in children.iter().enumerate() {
            let branch = if position + 1 == children.len() { "└─ " } else { "├─ " };
            self.write_span(f, *child, &below, branch, origin_ns)?;
        }
        Ok(())
    }
}

impl fmt::Display for SpanTree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(first) = self.spans.first() else {
            return writeln!(f, "no spans");
        };
        let end = self.spans.iter().map(|span| span.end_ns).max().unwrap_or(first.end_ns);
        let total = milliseconds(end.saturating_sub(first.start_ns));
        let (count, services) = (self.spans.len(), self.services().len());
        writeln!(f, "trace {}: {count} spans, {services} services, {total:.1} ms", first.trace_id)?;
        writeln!(f, "{:>9} {:>8}  span", "at ms", "took ms")?;
        for root in &self.roots {
            self.write_span(f, *root, "", "", first.start_ns)?;
        }
        Ok(())
    }
}

#[expect(clippy::cast_precision_loss, reason = "shown with one decimal")]
fn milliseconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(id: &str, parent: &str, name: &str, start_ms: u64) -> SpanRecord {
        SpanRecord {
            trace_id: "t".to_owned(),
            span_id: id.to_owned(),
            parent_span_id: parent.to_owned(),
            name: name.to_owned(),
            service: "order".to_owned(),
            kind: "server".to_owned(),
            start_ns: start_ms * 1_000_000,
            end_ns: (start_ms + 10) * 1_000_000,
            attributes: BTreeMap::new(),
            links: Vec::new(),
            error: false,
            status_message: String::new(),
        }
    }

    #[test]
    fn children_stand_under_their_parents_in_the_order_of_time() {
        let tree = SpanTree::of(vec![
            span("c", "a", "second", 5),
            span("d", "b", "deep", 3),
            span("b", "a", "first", 1),
            span("a", "", "root", 0),
            span("a", "", "root", 0),
        ]);
        let text = tree.to_string();
        let lines: Vec<&str> = text.lines().skip(2).map(|line| &line[20..]).collect();
        assert_eq!(
            lines,
            [
                "order: root (server)",
                "├─ order: first (server)",
                "│  └─ order: deep (server)",
                "└─ order: second (server)",
            ]
        );
    }

    #[test]
    fn a_span_whose_parent_is_unknown_is_a_root() {
        let tree = SpanTree::of(vec![span("a", "", "root", 0), span("b", "lost", "orphan", 1)]);
        assert_eq!(tree.roots().len(), 2);
    }
}
