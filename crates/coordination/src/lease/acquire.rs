//! Acquiring: one attempt, or one that waits for its turn.
//!
//! Waiters stand in a queue in Redis in the order in which they asked, and only its head may take a free lease.
//! Whoever gives the lease back tells the head by a message. Messages may be lost, so the head also looks every 50 ms
//! and when the lease ends; the others look twice a second, which is also what keeps them in the queue: who wasn't
//! seen for three seconds, by Redis' own clock, is put out. Plain attempts don't overtake a queue.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::attempt::Attempt;
use super::keys::{Keys, turns_channel};
use super::{DRAWS_MAX, Lease, LeaseError, Leases};
use crate::{FencingToken, metrics, scripts};

/// Most attempts that wait for one lease; a further one gets [`LeaseError::QueueFull`].
pub const WAITERS_MAX: usize = 1024;

/// A waiter that was not seen for so long is put out of the queue.
pub(super) const WAITER_TTL: Duration = Duration::from_secs(3);

const HEAD_LOOKS: Duration = Duration::from_millis(50);
const OTHERS_LOOK: Duration = Duration::from_millis(500);

/// What one look at the lease said.
enum Look {
    Acquired(Lease),
    /// Place in the queue, from 0, and when the lease ends.
    Queued {
        place: usize,
        ends: Duration,
    },
}

impl Leases {
    /// One attempt; `None` when someone holds it or waits for it. The name is a constant of the program.
    ///
    /// # Errors
    /// When Redis can't be asked, or an incarnation is needed and PostgreSQL can't be asked.
    pub async fn acquire(
        &self,
        name: &'static str,
        ttl: Duration,
    ) -> Result<Option<Lease>, LeaseError> {
        let attempt = Attempt::new(self, name);
        let acquired = match self.look(attempt, ttl, false).await {
            Ok((attempt, look)) => {
                attempt.settle();
                Ok(look.lease())
            }
            Err(error) => Err(error),
        };
        count(name, &acquired);
        acquired
    }

    /// Waits for the lease at most for `wait`; `None` when it didn't get it by then. Attempts get it in the order in
    /// which they asked. Dropping the future leaves the queue.
    ///
    /// # Errors
    /// As [`Leases::acquire`], and when [`WAITERS_MAX`] others wait. An error ends the wait.
    pub async fn acquire_within(
        &self,
        name: &'static str,
        ttl: Duration,
        wait: Duration,
    ) -> Result<Option<Lease>, LeaseError> {
        if wait.is_zero() {
            return self.acquire(name, ttl).await;
        }
        let asked = Instant::now();
        let acquired = self.wait_for(name, ttl, asked + wait).await;
        metrics::WAIT.with_label_values(&[name]).observe(asked.elapsed().as_secs_f64());
        count(name, &acquired);
        acquired
    }

    async fn wait_for(
        &self,
        name: &'static str,
        ttl: Duration,
        deadline: Instant,
    ) -> Result<Option<Lease>, LeaseError> {
        let mut attempt = Attempt::new(self, name);
        let turn = attempt.listen();
        loop {
            let (back, look) = self.look(attempt, ttl, true).await?;
            attempt = back;
            let pause = match look {
                Look::Acquired(lease) => {
                    attempt.settle();
                    return Ok(Some(lease));
                }
                // A millisecond more: Redis' answer is rounded down.
                Look::Queued { place: 0, ends } if !ends.is_zero() => {
                    HEAD_LOOKS.min(ends + Duration::from_millis(1))
                }
                Look::Queued { place: 0, .. } => HEAD_LOOKS,
                Look::Queued { .. } => OTHERS_LOOK,
            };
            let until = deadline.min(Instant::now() + pause);
            let told = timeout_at(until, turn.notified()).await.is_ok();
            if !told && Instant::now() >= deadline {
                attempt.leave().await;
                return Ok(None);
            }
        }
    }

    /// Looks once, and draws an incarnation if one is needed. The attempt comes back only with an answer: without
    /// one, Redis may have granted the lease all the same, and the attempt's end gives it back.
    async fn look(
        &self,
        attempt: Attempt,
        ttl: Duration,
        waits: bool,
    ) -> Result<(Attempt, Look), LeaseError> {
        let name = attempt.name();
        let Keys { lease, fence, queue, seen } = self.keys(name);
        let keys = [&*lease, &*fence, &*queue, &*seen];
        let channel = turns_channel(&self.0.redis);
        let (mut offered, mut drawn_for) = (0_u32, String::new());
        for _ in 0..DRAWS_MAX {
            // Before the request: the lease can only end later than we believe.
            let asked = Instant::now();
            let arguments = (
                attempt.id(),
                millis(ttl),
                offered,
                u8::from(waits),
                millis(WAITER_TTL),
                WAITERS_MAX,
                channel.as_str(),
                drawn_for.as_str(),
            );
            let (answer, first, second, value): (u8, u32, u64, String) =
                self.0.redis.script("acquire", &scripts::ACQUIRE, &keys, &arguments).await?;
            match answer {
                0 => {
                    let place = usize::try_from(first).unwrap_or(usize::MAX);
                    let ends = Duration::from_millis(second);
                    return Ok((attempt, Look::Queued { place, ends }));
                }
                1 => {
                    let counter = u32::try_from(second).unwrap_or(u32::MAX);
                    let token = FencingToken::new(first, counter);
                    let lease = Lease::new(self.clone(), name, value, token, ttl, asked);
                    return Ok((attempt, Look::Acquired(lease)));
                }
                2 => {
                    offered = self.draw_incarnation(name, first).await?;
                    drawn_for = value;
                }
                _ => return Err(LeaseError::QueueFull { lease: name }),
            }
        }
        Err(LeaseError::Outbid { lease: name })
    }
}

impl Look {
    fn lease(self) -> Option<Lease> {
        match self {
            Self::Acquired(lease) => Some(lease),
            Self::Queued { .. } => None,
        }
    }
}

fn count(name: &'static str, acquired: &Result<Option<Lease>, LeaseError>) {
    let outcome = match acquired {
        Ok(Some(_)) => "acquired",
        Ok(None) => "held",
        Err(LeaseError::QueueFull { .. }) => "full",
        Err(LeaseError::Redis(_) | LeaseError::Incarnation { .. } | LeaseError::Outbid { .. }) => {
            "failed"
        }
    };
    metrics::ACQUISITIONS.with_label_values(&[name, outcome]).inc();
}

pub(super) fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX).max(1)
}
