//! One session's work: claim, look, send, delete what was acknowledged, release, wait.
//!
//! Nothing waits for an answer that needn't: while rows are on their way the next ones are read, and acknowledged rows
//! are deleted many at a time, whenever enough have gathered or the first has waited long enough.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use millrace_messaging::OrderedProducer;
use millrace_runtime::CancellationToken;
use tokio::time::{sleep, sleep_until};

use super::flight::Flight;
use super::floors::Floors;
use super::holds::Holds;
use super::read::{Bounds, Row};
use super::store::Session;
use super::{Relay, RelayError, RowError, metrics};
use crate::record::BUCKETS;

/// Acknowledged rows wait so long for others to be deleted with: a delete for each one would cost more.
const GATHER: Duration = Duration::from_millis(20);

/// So many acknowledged rows are deleted without waiting for more.
const DELETE_ROWS: usize = 1024;

/// Looks at the table are at least so far apart when there is little to read, however often the relay is called.
const LOOK_INTERVAL: Duration = Duration::from_millis(2);

/// Rows that are unanswered after this don't keep a pass from ending.
const SLOW: Duration = Duration::from_millis(250);

/// How long a stop waits for rows on their way; what isn't answered by then is published again by the next relay.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

/// One look reads so many bytes of values at most, beyond the first row of each bucket.
const LOOK_BYTES_MAX: i64 = 16 * 1024 * 1024;

/// One look reads so many times what it aims at, when more buckets have rows than the last time.
const OVERREACH: usize = 4;

/// Rows of a bucket that are read before any topic is known to exist.
const COLD_ROWS: usize = 4;

/// One session's work.
pub(super) struct Work<'a> {
    pub(super) relay: &'a Relay,
    pub(super) session: Session,
    flight: Flight,
    floors: Floors,
    pub(super) holds: Holds,
    /// Buckets that had rows at the last look.
    filled: usize,
    looked: Instant,
    /// Set while the producer ends again and again.
    pub(super) paused_until: Option<Instant>,
    pub(super) pauses: u32,
    pub(super) measured: Option<Instant>,
    relays: i64,
}

/// What one pass came to.
#[derive(Default)]
pub(super) struct Tally {
    pub(super) read: usize,
    pub(super) acknowledged: usize,
    pub(super) failed: usize,
    contended: bool,
    /// Stopped with more to do, to let another instance have the buckets.
    yielded: bool,
    pub(super) first_error: Option<RowError>,
}

impl Tally {
    pub(super) fn add(&mut self, other: Self) {
        self.read += other.read;
        self.acknowledged += other.acknowledged;
        self.failed += other.failed;
        if self.first_error.is_none() {
            self.first_error = other.first_error;
        }
    }
}

/// What one look at the table found.
#[derive(Clone, Copy)]
struct Look {
    read: usize,
    /// At least one bucket had more than was read, so the next look finds something.
    more: bool,
    /// Topics and aggregates without room, whose rows were left out.
    closed: usize,
}

impl<'a> Work<'a> {
    pub(super) async fn open(relay: &'a Relay) -> Result<Self, RelayError> {
        let producer = OrderedProducer::new(&relay.kafka)
            .map_err(|error| RelayError::Producer(Box::new(error)))?;
        let mut session = Session::open(&relay.options, relay.settings.connect_timeout).await?;
        let in_order = session.draws_in_order().await?;
        Ok(Self {
            relay,
            session,
            floors: Floors::new(in_order, Instant::now()),
            flight: Flight::new(producer, look_rows_max(relay)),
            holds: Holds::default(),
            filled: all_buckets(),
            looked: Instant::now(),
            paused_until: None,
            pauses: 0,
            measured: None,
            relays: 1,
        })
    }

    /// Claims what is free and publishes until nothing is left, the producer ends again and again, or others' turn has
    /// come.
    pub(super) async fn pass(&mut self, stop: &CancellationToken) -> Result<Tally, RelayError> {
        let mut tally = Tally::default();
        if self.paused() {
            return Ok(tally);
        }
        tally.contended = self.session.claim().await?;
        let started = Instant::now();
        while !stop.is_cancelled() && !self.paused() && !self.session.claimed().is_empty() {
            let look = self.look(&mut tally).await?;
            if !self.settle(look, &mut tally).await? {
                break;
            }
            if self.relays > 1 && started.elapsed() > self.relay.settings.claim_max {
                tally.yielded = true;
                break;
            }
        }
        self.delete().await?;
        for bucket in self.session.release(&self.flight.buckets()).await? {
            self.floors.released(bucket);
        }
        metrics::HELD_AGGREGATES.set(i64::try_from(self.holds.len()).unwrap_or(i64::MAX));
        self.relay.health.passed(self.holds.len());
        Ok(tally)
    }

    /// Reads rows and sends them.
    async fn look(&mut self, tally: &mut Tally) -> Result<Look, RelayError> {
        self.land(tally).await?;
        self.delete_when_due().await?;
        self.looked = Instant::now();
        let mut topics = self.flight.survey(self.looked);
        let mut aggregates = self.flight.busy();
        let closed = topics.len() + aggregates.len();
        topics.extend(self.holds.held_topics(self.looked));
        aggregates.extend(self.holds.held(self.looked).cloned());
        let look_rows_max = look_rows_max(self.relay);
        // While no topic is proven all but a row of each would be left.
        let share = look_rows_max / self.filled;
        let per_bucket = if self.flight.is_cold() { share.min(COLD_ROWS) } else { share };
        let bounds = Bounds {
            rows: self.flight.known(),
            aggregates,
            topics,
            rows_max: i64::try_from(per_bucket).unwrap_or(i64::MAX),
            bytes_max: LOOK_BYTES_MAX / i64::try_from(self.filled).unwrap_or(1),
            total_max: i64::try_from(look_rows_max * OVERREACH).unwrap_or(i64::MAX),
        };
        self.floors.refresh(self.looked);
        let rows = self.session.read(&bounds, &self.floors).await?;
        if let Some(first) = rows.first() {
            let whole = bounds.topics.is_empty() && bounds.aggregates.is_empty();
            let places = rows.iter().map(|row| (row.bucket, row.seq));
            self.floors.read(places, first.releases, whole);
        }
        let read = rows.len();
        tally.read += read;
        let buckets: HashSet<i16> = rows.iter().map(|row| row.bucket).collect();
        // More than a bucket gives when all do: whoever has rows has more.
        let more = read > 0 && read >= per_bucket.min(look_rows_max / 2);
        self.filled = if buckets.is_empty() { all_buckets() } else { buckets.len() };
        // Answers that came while the rows were read: after a failure an earlier row comes first.
        if self.land(tally).await? {
            return Ok(Look { read, more: true, closed });
        }
        let (aside, rows): (Vec<Row>, Vec<Row>) = rows.into_iter().partition(|row| row.set_aside);
        if !aside.is_empty() {
            let moved = self.session.park(&aside).await?;
            self.floors.gone(&moved);
        }
        let landed = self.flight.send(rows, &self.holds);
        self.judge(landed, tally).await?;
        Ok(Look { read, more, closed })
    }

    /// Waits for what makes another look worth its while, and deletes meanwhile. False when nothing came.
    async fn settle(&mut self, look: Look, tally: &mut Tally) -> Result<bool, RelayError> {
        let before = tally.acknowledged + tally.failed;
        let until = tokio::time::Instant::now() + SLOW;
        loop {
            self.land(tally).await?;
            self.delete_when_due().await?;
            let answered = tally.acknowledged + tally.failed > before;
            // Room may have been made while the look was on its way: then nothing is left to be answered.
            if (look.more && look.closed == 0) || self.made_room(look) || self.paused() {
                return Ok(true);
            }
            if self.flight.is_empty() {
                return Ok(look.read > 0 || answered);
            }
            let due = self.flight.deletable().map(|(_, since)| since + GATHER);
            let due = due.map_or(until, tokio::time::Instant::from_std).min(until);
            let pace = tokio::time::Instant::from_std(self.looked + LOOK_INTERVAL);
            tokio::select! {
                biased;
                () = self.relay.wake.notified() => {
                    sleep_until(pace).await;
                    return Ok(true);
                }
                () = self.flight.answered() => sleep_until(pace).await,
                () = sleep_until(due) => {}
            }
            if tokio::time::Instant::now() >= until {
                // Still unanswered: is the claim on their buckets still ours?
                self.session.ping().await?;
                return Ok(answered);
            }
        }
    }

    /// True when rows that were left out for want of room may be sent now. A look before that would walk over all of
    /// them and find nothing.
    fn made_room(&mut self, look: Look) -> bool {
        look.closed > 0 && {
            let closed = self.flight.survey(Instant::now()).len() + self.flight.busy().len();
            closed < look.closed
        }
    }

    /// Takes the answers that are there. True when some row was not taken.
    async fn land(&mut self, tally: &mut Tally) -> Result<bool, RelayError> {
        let landed = self.flight.land(Instant::now());
        let turned_back = landed.swept > 0 || !landed.failures.is_empty();
        self.judge(landed, tally).await?;
        Ok(turned_back)
    }

    async fn delete_when_due(&mut self) -> Result<(), RelayError> {
        let due = self
            .flight
            .deletable()
            .is_some_and(|(rows, since)| rows >= DELETE_ROWS || since.elapsed() >= GATHER);
        if due { self.delete().await } else { Ok(()) }
    }

    async fn delete(&mut self) -> Result<(), RelayError> {
        let rows = self.flight.take_acknowledged();
        if rows.is_empty() {
            return Ok(());
        }
        self.session.delete(&rows).await?;
        self.floors.gone(&rows);
        if let Some(seen) = self.floors.asks() {
            self.floors.hears(seen, self.session.writers().await?);
        }
        Ok(())
    }

    /// Nothing is left to wait for.
    pub(super) fn is_idle(&self) -> bool {
        self.flight.is_empty()
    }

    /// Rows without an answer.
    pub(super) fn on_their_way(&self) -> usize {
        self.flight.len()
    }

    pub(super) fn paused(&self) -> bool {
        self.paused_until.is_some_and(|until| until > Instant::now())
    }

    pub(super) async fn wait(
        &mut self,
        pass: &Tally,
        stop: &CancellationToken,
    ) -> Result<(), RelayError> {
        let settings = &self.relay.settings;
        let now = Instant::now();
        let paused = self.paused_until.map(|until| until.saturating_duration_since(now));
        let (span, wakes) = if let Some(left) = paused.filter(|left| !left.is_zero()) {
            (left, false)
        } else if pass.yielded {
            // Longer than another's retry, or the one who yields would always be first again.
            (settings.contended_retry * 2, false)
        } else if pass.contended {
            (settings.contended_retry, true)
        } else {
            (settings.poll_interval, true)
        };
        let span = self
            .holds
            .next_release(now)
            .map_or(span, |until| span.min(until.saturating_duration_since(now)));
        let flying = !self.flight.is_empty();
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.relay.wake.notified(), if wakes => {}
            () = self.flight.answered(), if flying => {}
            () = sleep(span) => {}
        }
        Ok(())
    }

    pub(super) async fn measure_when_due(&mut self) -> Result<(), RelayError> {
        let interval = self.relay.settings.measure_interval;
        if self.measured.is_some_and(|at| at.elapsed() < interval) {
            return Ok(());
        }
        let measure = self.session.measure().await?;
        self.measured = Some(Instant::now());
        self.relays = measure.relays;
        metrics::BACKLOG.set(measure.backlog);
        metrics::OLDEST_SECONDS.set(measure.oldest.as_secs_f64());
        metrics::SET_ASIDE.set(measure.set_aside);
        self.relay.health.measured(measure.backlog, measure.oldest, measure.set_aside);
        Ok(())
    }

    /// Waits for what is on its way, deletes what arrived, and frees the buckets.
    pub(super) async fn finish(mut self) -> Result<(), RelayError> {
        let started = Instant::now();
        let mut tally = Tally::default();
        while !self.flight.is_empty() && started.elapsed() < STOP_PATIENCE {
            let left = STOP_PATIENCE.saturating_sub(started.elapsed());
            // Whether answers came or patience ended, the loop looks.
            let _ended: Result<(), _> = tokio::time::timeout(left, self.flight.answered()).await;
            self.land(&mut tally).await?;
            self.delete_when_due().await?;
        }
        self.delete().await?;
        self.session.close().await;
        Ok(())
    }
}

/// How many rows one look aims at.
fn look_rows_max(relay: &Relay) -> usize {
    usize::from(relay.settings.bucket_batch_max) * all_buckets()
}

fn all_buckets() -> usize {
    BUCKETS.unsigned_abs().into()
}
