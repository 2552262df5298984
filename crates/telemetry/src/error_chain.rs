//! An error and all its causes as one line.

use std::error::Error;

/// More causes than any honest error has; ends the walk over a chain that bites its tail.
const CAUSES_MAX: usize = 16;

/// `a: b: c`. A cause that its error's own text already ends with is not said twice: libraries differ in whether
/// their `Display` repeats the cause.
#[must_use]
pub fn error_chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut last = text.clone();
    let mut cause = error.source();
    for _ in 0..CAUSES_MAX {
        let Some(current) = cause else { break };
        let said = current.to_string();
        if !last.ends_with(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        last = said;
        cause = current.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("disk is full")]
    struct Disk;
    #[derive(Debug, thiserror::Error)]
    #[error("row was not written")]
    struct Store(#[source] Disk);
    #[derive(Debug, thiserror::Error)]
    #[error("driver: {0}")]
    struct Repeats(#[source] Store);

    #[test]
    fn a_chain_is_one_line_and_says_nothing_twice() {
        assert_eq!(error_chain(&Store(Disk)), "row was not written: disk is full");
        assert_eq!(error_chain(&Repeats(Store(Disk))), "driver: row was not written: disk is full");
    }
}
