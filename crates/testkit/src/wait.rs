//! Waiting for a state instead of for a time.
//!
//! The check reads the level ("is the stock reserved?"), never an edge ("did an event arrive while I
//! looked?"), so it can't miss anything; it is asked often, and a test that waits in vain says what it saw last.

use std::fmt::Debug;
use std::time::{Duration, Instant};

/// What one look at the state found.
pub trait Look {
    /// What a successful look yields.
    type Found;
    /// The value when the state is reached, otherwise a word on what was seen.
    fn found(self) -> Result<Self::Found, String>;
}

impl Look for bool {
    type Found = ();
    fn found(self) -> Result<(), String> {
        if self { Ok(()) } else { Err("false".to_owned()) }
    }
}

impl<T> Look for Option<T> {
    type Found = T;
    fn found(self) -> Result<T, String> {
        self.ok_or_else(|| "nothing".to_owned())
    }
}

/// A look that explains why the state is not reached yet: `Err(status)` is printed when time runs out.
impl<T, E: Debug> Look for Result<T, E> {
    type Found = T;
    fn found(self) -> Result<T, String> {
        self.map_err(|status| format!("{status:?}"))
    }
}

/// Asks `check` until it finds the state, and returns what it found.
///
/// # Panics
/// When `deadline` passes; the message names `what` and the last status seen.
pub async fn wait_until<L, F>(
    what: &str,
    deadline: Duration,
    mut check: impl FnMut() -> F,
) -> L::Found
where
    L: Look,
    F: Future<Output = L>,
{
    match try_wait_until(deadline, &mut check).await {
        Ok(found) => found,
        Err(last) => panic!("waited {deadline:?} for «{what}»; last seen: {last}"),
    }
}

/// [`wait_until`] that returns the last status instead of panicking.
///
/// # Errors
/// The last status, when `deadline` passes.
pub async fn try_wait_until<L, F>(
    deadline: Duration,
    mut check: impl FnMut() -> F,
) -> Result<L::Found, String>
where
    L: Look,
    F: Future<Output = L>,
{
    let started = Instant::now();
    let mut interval = Duration::from_millis(2);
    let mut last = "not one look finished".to_owned();
    while started.elapsed() <= deadline {
        // A look that hangs (a paused broker) must not hang the test.
        let left = deadline.saturating_sub(started.elapsed()).max(Duration::from_millis(1));
        match tokio::time::timeout(left, check()).await {
            Ok(look) => match look.found() {
                Ok(found) => return Ok(found),
                Err(status) => last = status,
            },
            Err(_) => break,
        }
        tokio::time::sleep(interval).await;
        interval = (interval * 2).min(Duration::from_millis(50));
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_value_of_the_first_successful_look_is_returned() {
        let mut looks = 0;
        let found = wait_until("three looks", Duration::from_secs(2), || {
            looks += 1;
            let seen = looks;
            async move { (seen >= 3).then_some(seen) }
        })
        .await;
        assert_eq!(found, 3);
    }

    #[tokio::test]
    async fn a_wait_in_vain_tells_the_last_status() {
        let result: Result<(), String> =
            try_wait_until(Duration::from_millis(20), || async { Err::<(), _>("held") }).await;
        assert_eq!(result.unwrap_err(), "\"held\"");
    }

    #[tokio::test]
    async fn a_look_that_hangs_does_not_hang_the_test() {
        let result =
            try_wait_until(Duration::from_millis(20), std::future::pending::<Option<()>>).await;
        assert_eq!(result.unwrap_err(), "not one look finished");
    }
}
