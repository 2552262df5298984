//! The relay's loop: claim, read, send, delete what was acknowledged, release, wait.

use std::time::{Duration, Instant};

use millrace_messaging::PublishError;
use millrace_resilience::{Backoff, Class, Classify as _};
use millrace_runtime::CancellationToken;
use millrace_telemetry::error_chain;
use tokio::time::{sleep, sleep_until};

use super::flight::{Answer, Flight};
use super::holds::{Holds, Ordering};
use super::store::Session;
use super::{Relay, RelayError, metrics};

/// Waits before another attempt at the database, or at a broker that accepted nothing.
const AWAY: Backoff = Backoff {
    initial: Duration::from_millis(100),
    max: Duration::from_secs(2),
    factor: 2.0,
    jitter: 0.5,
};

/// Acknowledgements are gathered for so long even when new rows call: a delete for each one would cost more.
const GATHER: Duration = Duration::from_millis(20);

/// Rows that are unanswered after this don't keep the next ones from being read.
const SLOW: Duration = Duration::from_millis(250);

/// How long a stop waits for rows on their way; what isn't answered by then is published again by the next relay.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

impl Relay {
    /// Relays until `stop`, through any outage of database and broker. On `stop` it sends nothing more and waits
    /// a few seconds for what is on its way.
    pub async fn run(self, stop: CancellationToken) {
        let mut failures: u32 = 0;
        while !stop.is_cancelled() {
            let ended = self.work(&stop, &mut failures).await;
            self.health.connected(false);
            let Err(error) = ended else { return };
            failures = failures.saturating_add(1);
            tracing::warn!(error = %error_chain(&error), failures, "the relay starts over");
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(AWAY.wait(failures)) => {}
            }
        }
    }

    /// Publishes everything that is committed in the buckets nobody else holds, once; returns how many rows. A row
    /// that fails is left with the rest of its aggregate.
    ///
    /// # Errors
    /// When the database can't be reached, or when there were rows and the broker accepted none.
    pub async fn relay_once(&self) -> Result<usize, RelayError> {
        let mut work = Work::open(self).await?;
        let mut total = Tally::default();
        let never = CancellationToken::new();
        loop {
            let pass = work.pass(&never).await?;
            let idle = pass.read == 0 && pass.acknowledged == 0 && pass.failed == 0;
            let done = idle && work.flight.is_empty();
            total.add(pass);
            if done || work.paused_until.is_some() {
                break;
            }
        }
        work.finish().await?;
        match total.first_error {
            Some(source) if total.acknowledged == 0 => {
                Err(RelayError::Broker { rows: total.failed, source })
            }
            _ => Ok(total.acknowledged),
        }
    }

    async fn work(&self, stop: &CancellationToken, failures: &mut u32) -> Result<(), RelayError> {
        let mut work = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            opened = Work::open(self) => opened?,
        };
        self.health.connected(true);
        while !stop.is_cancelled() {
            let pass = work.pass(stop).await?;
            *failures = 0;
            work.measure_when_due().await?;
            work.wait(&pass, stop).await?;
        }
        work.finish().await
    }
}

/// One session's work.
struct Work<'a> {
    relay: &'a Relay,
    session: Session,
    flight: Flight,
    holds: Holds,
    /// Set while the broker accepts nothing.
    paused_until: Option<Instant>,
    pauses: u32,
    measured: Option<Instant>,
    relays: i64,
}

/// What one pass came to.
#[derive(Default)]
struct Tally {
    read: usize,
    acknowledged: usize,
    failed: usize,
    contended: bool,
    /// Stopped with more to do, to let another instance have the buckets.
    yielded: bool,
    first_error: Option<PublishError>,
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.read += other.read;
        self.acknowledged += other.acknowledged;
        self.failed += other.failed;
        if self.first_error.is_none() {
            self.first_error = other.first_error;
        }
    }
}

impl<'a> Work<'a> {
    async fn open(relay: &'a Relay) -> Result<Self, RelayError> {
        Ok(Self {
            relay,
            session: Session::open(&relay.options, relay.settings.connect_timeout).await?,
            flight: Flight::new(relay.producer.clone()),
            holds: Holds::default(),
            paused_until: None,
            pauses: 0,
            measured: None,
            relays: 1,
        })
    }

    /// Claims what is free and publishes until nothing is left, the broker refuses everything, or others' turn has come.
    async fn pass(&mut self, stop: &CancellationToken) -> Result<Tally, RelayError> {
        let mut tally = Tally::default();
        if self.paused() {
            return Ok(tally);
        }
        tally.contended = self.session.claim().await?;
        let started = Instant::now();
        while !stop.is_cancelled() && !self.paused() && !self.session.claimed().is_empty() {
            let read = self.read_and_send().await?;
            tally.read += read;
            let moved = self.settle(SLOW, &mut tally).await?;
            if read == 0 && !moved {
                break;
            }
            if self.relays > 1 && started.elapsed() > self.relay.settings.claim_max {
                tally.yielded = true;
                break;
            }
        }
        self.session.release(&self.flight.buckets()).await?;
        metrics::HELD_AGGREGATES.set(i64::try_from(self.holds.len()).unwrap_or(i64::MAX));
        self.relay.health.passed(self.holds.len());
        Ok(tally)
    }

    async fn read_and_send(&mut self) -> Result<usize, RelayError> {
        let now = Instant::now();
        let except: Vec<Ordering> =
            self.flight.busy().chain(self.holds.held(now)).cloned().collect();
        let topics: Vec<_> =
            self.flight.full_topics().cloned().chain(self.holds.held_topics(now)).collect();
        let per_bucket = self.relay.settings.bucket_batch_max;
        let rows = self.session.read(per_bucket, &except, &topics).await?;
        let read = rows.len();
        self.flight.start(rows);
        Ok(read)
    }

    /// Takes answers until all are in, at most for `window` (new rows end it earlier), and deletes what was
    /// acknowledged. With rows still on their way it makes sure that the claim on their buckets still stands.
    /// Returns true when there may be more to read than before: new rows called, or answers made room.
    async fn settle(&mut self, window: Duration, tally: &mut Tally) -> Result<bool, RelayError> {
        let started = tokio::time::Instant::now();
        let mut woken = false;
        let mut answers = Answers::default();
        while !self.flight.is_empty() {
            let gathered = started.elapsed() >= GATHER;
            tokio::select! {
                biased;
                Some(answer) = self.flight.next() => answers.take(answer, &mut self.holds),
                () = self.relay.wake.notified(), if gathered => {
                    woken = true;
                    break;
                }
                () = sleep_until(started + GATHER), if !gathered => {}
                () = sleep_until(started + window) => break,
            }
        }
        if !answers.acknowledged.is_empty() {
            self.session.delete(&answers.acknowledged).await?;
        }
        let answered = answers.acknowledged.len() + answers.failed.len();
        self.judge(answers, tally);
        if !self.flight.is_empty() {
            self.session.ping().await?;
        }
        Ok(woken || answered > 0)
    }

    /// Decides whether failures are their aggregates' or the broker's.
    fn judge(&mut self, answers: Answers, tally: &mut Tally) {
        let failed = answers.failed.len();
        tally.acknowledged += answers.acknowledged.len();
        tally.failed += failed;
        if !answers.acknowledged.is_empty() {
            self.pauses = 0;
        }
        let Some((_, error)) = answers.failed.first() else {
            return;
        };
        let transient = answers.failed.iter().all(|(_, error)| error.class() == Class::Transient);
        let now = Instant::now();
        let failures = if transient && failed > 1 && answers.acknowledged.is_empty() {
            // Nothing goes through: the broker's trouble, not theirs. Nobody is held back for it.
            self.pauses = self.pauses.saturating_add(1);
            self.paused_until = Some(now + AWAY.wait(self.pauses));
            self.pauses
        } else {
            let held = answers.failed.iter().map(|(at, _)| self.holds.failed(at.clone(), now));
            held.max().unwrap_or(1)
        };
        // Not a line a try: the metric counts them all.
        if failures.is_power_of_two() {
            tracing::warn!(
                error = %error_chain(error), rows = failed, failures, paused = self.paused(),
                "the broker did not accept outbox rows; they stay"
            );
        }
        if tally.first_error.is_none() {
            tally.first_error = answers.failed.into_iter().next().map(|(_, error)| error);
        }
    }

    fn paused(&self) -> bool {
        self.paused_until.is_some_and(|until| until > Instant::now())
    }

    async fn wait(&mut self, pass: &Tally, stop: &CancellationToken) -> Result<(), RelayError> {
        if !self.flight.is_empty() {
            self.settle(SLOW, &mut Tally::default()).await?;
            return Ok(());
        }
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
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.relay.wake.notified(), if wakes => {}
            () = sleep(span) => {}
        }
        Ok(())
    }

    async fn measure_when_due(&mut self) -> Result<(), RelayError> {
        let interval = self.relay.settings.measure_interval;
        if self.measured.is_some_and(|at| at.elapsed() < interval) {
            return Ok(());
        }
        let measure = self.session.measure().await?;
        self.measured = Some(Instant::now());
        self.relays = measure.relays;
        metrics::BACKLOG.set(measure.backlog);
        metrics::OLDEST_SECONDS.set(measure.oldest.as_secs_f64());
        self.relay.health.measured(measure.backlog, measure.oldest);
        Ok(())
    }

    /// Waits for what is on its way, deletes what arrived, and frees the buckets.
    async fn finish(mut self) -> Result<(), RelayError> {
        let started = Instant::now();
        while !self.flight.is_empty() && started.elapsed() < STOP_PATIENCE {
            self.settle(SLOW, &mut Tally::default()).await?;
        }
        self.session.close().await;
        Ok(())
    }
}

/// Answers of one settling.
#[derive(Default)]
struct Answers {
    acknowledged: Vec<(i16, i64)>,
    failed: Vec<(Ordering, PublishError)>,
}

impl Answers {
    fn take(&mut self, answer: Answer, holds: &mut Holds) {
        let topic = answer.ordering.topic.as_str();
        match answer.outcome {
            Ok(()) => {
                metrics::PUBLISHED.with_label_values(&[topic]).inc();
                holds.succeeded(&answer.ordering);
                self.acknowledged.push(answer.row);
            }
            Err(error) => {
                let class = error.class().as_str();
                metrics::PUBLISH_FAILURES.with_label_values(&[topic, class]).inc();
                self.failed.push((answer.ordering, error));
            }
        }
    }
}
