//! A topic that is made again under a working consumer: what is held is void, and the session ends.
//!
//! The next one begins where [`crate::consumer::positions`] says. To end the session throws away whatever the client has
//! fetched, forgets its positions and joins the group anew, which is dearer than to begin again in place and leaves
//! nothing of the old topic anywhere.

use std::time::{Duration, Instant};

use super::state::{Ended, State};
use crate::Handler;

/// How long the client gets to join for the new topic by itself.
const JOIN_WAIT: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Renewal {
    /// The changes that the session began with.
    begun: u64,
    /// Those that what is held was compared at.
    compared: Option<u64>,
    /// The last assignment, or the change that came after it.
    moved_at: Option<Instant>,
    moved_with: u64,
}

impl Renewal {
    pub(super) fn new(changes: u64) -> Self {
        Self { begun: changes, compared: None, moved_at: None, moved_with: changes }
    }

    pub(super) fn assigned(&mut self, now: Instant) {
        self.moved_at = Some(now);
    }

    /// What is held may have changed.
    pub(super) fn check_again(&mut self) {
        self.compared = None;
    }

    /// True when a session that began with another topic has waited long enough for its partitions.
    fn overdue(&mut self, changes: u64, now: Instant) -> bool {
        if changes != self.moved_with {
            (self.moved_at, self.moved_with) = (Some(now), changes);
        }
        changes != self.begun
            && self.moved_at.is_some_and(|at| now.saturating_duration_since(at) >= JOIN_WAIT)
    }
}

impl<H: Handler> State<'_, H> {
    /// Fails when a partition that is held is of a topic that is gone. Asked after every record and before it counts.
    pub(super) fn still_the_same_topics(&mut self) -> Result<(), Ended> {
        let lineage = &self.poll.identity.lineage;
        let changes = lineage.changes();
        if self.renewal.compared == Some(changes) {
            return Ok(());
        }
        self.renewal.compared = Some(changes);
        let gone = self.owned.iter().find_map(|(slot, owned)| {
            let topic = &self.poll.identity.source(*slot).broker_topic;
            (lineage.incarnation(topic) != owned.incarnation).then(|| topic.clone())
        });
        gone.map_or(Ok(()), |topic| Err(Ended::MadeAgain(topic)))
    }

    /// Fails when this member is left without partitions for a topic that is made again.
    ///
    /// A group's leader that assigns in the moment in which the topic is missing assigns nothing. If it finds as many
    /// partitions afterwards as it knew before, it sees no change, and everybody would wait for ever.
    pub(super) fn left_without_partitions(&mut self, now: Instant) -> Result<(), Ended> {
        let changes = self.poll.identity.lineage.changes();
        let idle = self.owned.is_empty() && !self.joining.any() && self.stop.is_none();
        if self.renewal.overdue(changes, now) && idle {
            return Err(Ended::MadeAgain(self.poll.identity.topics()));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_waits_for_partitions_of_the_new_topic_and_not_for_ever() {
        let (mut renewal, now) = (Renewal::new(3), Instant::now());
        assert!(!renewal.overdue(3, now + JOIN_WAIT * 9), "nothing changed, nothing is due");
        let changed = now + JOIN_WAIT * 10;
        assert!(!renewal.overdue(4, changed) && !renewal.overdue(4, changed + JOIN_WAIT / 2));
        renewal.assigned(changed + JOIN_WAIT / 2);
        assert!(!renewal.overdue(4, changed + JOIN_WAIT), "the client is at it");
        assert!(renewal.overdue(4, changed + JOIN_WAIT * 2));
        assert!(
            !Renewal::new(4).overdue(4, changed + JOIN_WAIT * 9),
            "the next one begins with it"
        );
    }
}
