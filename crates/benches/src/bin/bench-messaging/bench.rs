//! What the sections share: servers, topics with sets in them, measuring processes, and the order of the sides.

use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result};
use millrace_benches::report::{Figure, Goal};
use millrace_benches::rounds::Rounds;
use millrace_benches::suite::progress;
use millrace_testkit::cluster::KafkaCluster;
use millrace_testkit::otlp::{Receiver, Sink};
use millrace_testkit::{Namespace, Stack, TestTopics, TopicSpec};

use crate::job::{self, Job, Measured, Process, Telemetry, Work};
use crate::records::{RecordSet, SAMPLED_ONE_OF, TOPIC};
use crate::relay_backlog::arrived;
use crate::settings::Settings;
use crate::write::write;

/// As many as the issue's figures are asked for.
pub(crate) const PARTITIONS: i32 = 6;
/// The bare side's topic beside the product's, where both are needed at once.
pub(crate) const BARE_TOPIC: &str = "bench-bare";
/// A span may be dropped when the exporter's queue is full; a tenth shows that tracing was really on.
const SPANS_SEEN_MIN: f64 = 0.1;

/// The bench on servers of its own.
pub(crate) struct Bench {
    pub(crate) stack: Stack,
    pub(crate) rounds: Rounds,
    /// Records of the long backlog.
    pub(crate) backlog: u32,
    directory: tempfile::TempDir,
    collector: Collector,
}

/// Counts the spans that measuring processes export, and keeps none.
struct Collector {
    receiver: Receiver,
    spans: Arc<AtomicU64>,
}

impl Collector {
    fn start() -> Result<Self> {
        let spans = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&spans);
        let sink: Sink = Arc::new(move |new| {
            counted.fetch_add(new.len() as u64, Ordering::SeqCst);
        });
        Ok(Self { receiver: Receiver::start(0, sink)?, spans })
    }
}

/// A topic of one set.
pub(crate) struct Topic {
    namespace: Namespace,
    brokers: String,
    _topics: TestTopics,
}

impl Topic {
    /// A replicated topic, and one for the bare side beside it.
    pub(crate) async fn on_cluster(cluster: &KafkaCluster, partitions: i32) -> Self {
        let namespace = cluster.namespace();
        let specs = [TOPIC.as_str(), BARE_TOPIC].map(|name| TopicSpec::new(name, partitions));
        let topics = cluster.topics(&namespace, &specs).await;
        Self { namespace, brokers: cluster.brokers().to_owned(), _topics: topics }
    }

    /// A topic's name on the broker.
    pub(crate) fn named(&self, topic: &str) -> String {
        self.namespace.topic(topic)
    }

    /// The settings of a client that reads or writes it, as a member of a group that nobody else is in.
    pub(crate) fn settings(&self) -> Vec<(String, String)> {
        let group_suffix = Namespace::unique().group_suffix;
        let values = [
            ("KAFKA__BROKERS", self.brokers.clone()),
            ("KAFKA__TOPIC_PREFIX", self.namespace.topic_prefix.clone()),
            ("KAFKA__GROUP_SUFFIX", group_suffix),
        ];
        values.map(|(key, value)| (key.to_owned(), value)).to_vec()
    }

    fn name(&self) -> String {
        self.named(TOPIC.as_str())
    }
}

/// How a measuring process traces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tracing {
    Off,
    /// One trace of a hundred goes to the collector.
    Sampled,
    /// The same, and the collector is away.
    CollectorAway,
}

impl Bench {
    /// Starts the servers. PostgreSQL syncs its log to the disk, as in production.
    pub(crate) async fn start(seed: u64, rounds: usize, backlog: u32) -> Result<Self> {
        Ok(Self {
            stack: Stack::durable().await?,
            rounds: Rounds::new(seed, rounds),
            backlog,
            directory: tempfile::tempdir().context("making a directory for jobs")?,
            collector: Collector::start()?,
        })
    }

    /// A new topic with nothing in it.
    pub(crate) async fn topic(&self) -> Topic {
        let namespace = self.stack.namespace();
        let specs = [TopicSpec::new(TOPIC.as_str(), PARTITIONS)];
        let topics = self.stack.topics(&namespace, &specs).await;
        Topic { namespace, brokers: self.stack.brokers(), _topics: topics }
    }

    /// A new topic that holds the set.
    pub(crate) async fn topic_with(&self, set: &RecordSet) -> Result<Topic> {
        progress(&format!("  writing {} records", set.count));
        let topic = self.topic().await;
        let settings = Settings::read(&topic.settings())?;
        write(&settings.kafka, &topic.name(), set).await.context("writing a set")?;
        Ok(topic)
    }

    /// Whether the topic holds the set whole, once and in order.
    pub(crate) async fn arrived(&self, topic: &Topic, set: &RecordSet) -> Result<Option<String>> {
        let settings = Settings::read(&topic.settings())?;
        Ok(arrived(&settings, &topic.name(), set).await?.err())
    }

    /// One measurement in a process of its own.
    pub(crate) async fn run(
        &self,
        topic: &Topic,
        tracing: Tracing,
        work: Work,
    ) -> Result<Measured> {
        let before = self.collector.spans.load(Ordering::SeqCst);
        let mut measured = self.launch(topic, tracing, work)?.answer().await?;
        let spans = self.collector.spans.load(Ordering::SeqCst) - before;
        let wanted = job::count(measured.messages) / f64::from(SAMPLED_ONE_OF) * SPANS_SEEN_MIN;
        if tracing == Tracing::Sampled && job::count(spans) < wanted && measured.broken.is_none() {
            measured.broken = Some(format!("only {spans} spans came, tracing was not on"));
        }
        Ok(measured)
    }

    /// A measurement that something is to happen to.
    pub(crate) fn start_work(&self, topic: &Topic, work: Work) -> Result<Process> {
        self.launch(topic, Tracing::Sampled, work)
    }

    fn launch(&self, topic: &Topic, tracing: Tracing, work: Work) -> Result<Process> {
        let mut settings = topic.settings();
        settings.extend(self.telemetry_settings(tracing)?);
        settings.extend(http_settings());
        let telemetry = if tracing == Tracing::Off { Telemetry::Off } else { Telemetry::On };
        job::start(&Job { settings, telemetry, work }, self.directory.path())
    }

    fn telemetry_settings(&self, tracing: Tracing) -> Result<Vec<(String, String)>> {
        let endpoint = match tracing {
            Tracing::Off => String::new(),
            Tracing::Sampled => self.collector.receiver.endpoint(),
            Tracing::CollectorAway => {
                let [port] = millrace_testkit::ports::free()?;
                format!("http://127.0.0.1:{port}")
            }
        };
        let share = (1.0 / f64::from(SAMPLED_ONE_OF)).to_string();
        Ok(vec![
            ("TELEMETRY__OTLP_ENDPOINT".to_owned(), endpoint),
            ("TELEMETRY__SAMPLE_RATIO".to_owned(), share),
            ("TELEMETRY__LOG_LEVEL".to_owned(), "warn".to_owned()),
        ])
    }

    /// Measures each side once a round, in the round's order; a round before the first one is thrown away.
    pub(crate) async fn measure_sides<K: Copy + Debug>(
        &mut self,
        sides: &[K],
        run: impl AsyncFn(&Self, K) -> Result<Measured>,
    ) -> Result<Vec<Samples>> {
        let mut all: Vec<Samples> = sides.iter().map(|_| Samples::default()).collect();
        for round in 0..=self.rounds.count() {
            for at in self.rounds.shuffled(0..sides.len()) {
                let side = sides[at];
                let measured = run(self, side).await.with_context(|| format!("{side:?}"))?;
                progress(&format!("  round {round}, {side:?}: {}", told(&measured)));
                all[at].take(measured, round > 0);
            }
        }
        Ok(all)
    }
}

fn told(measured: &Measured) -> String {
    match &measured.broken {
        Some(problem) => format!("void, {problem}"),
        None => format!(
            "{:.0}/s, {:.2} us of processor time each",
            measured.rate(),
            measured.processor_micros_per_message()
        ),
    }
}

/// Local ports of the system's choice, and a deadline that an overload may use up: it is told as latency.
fn http_settings() -> Vec<(String, String)> {
    let values = [
        ("HTTP__BIND", "127.0.0.1"),
        ("HTTP__PORT", "0"),
        ("HTTP__ADMIN_PORT", "0"),
        ("HTTP__DEADLINE", "60s"),
    ];
    values.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec()
}

/// One side's measurements of all rounds, and what broke in any of them.
#[derive(Debug, Default)]
pub(crate) struct Samples {
    pub(crate) rounds: Vec<Measured>,
    broken: Option<String>,
}

impl Samples {
    fn take(&mut self, measured: Measured, counts: bool) {
        if self.broken.is_none() {
            self.broken.clone_from(&measured.broken);
        }
        if counts {
            self.rounds.push(measured);
        }
    }

    /// One figure of each round.
    pub(crate) fn each(&self, figure: impl Fn(&Measured) -> f64) -> Vec<f64> {
        self.rounds.iter().map(figure).collect()
    }

    /// A figure that is void when this side's promise was broken.
    pub(crate) fn figure(
        &self,
        name: impl Into<String>,
        unit: &'static str,
        figure: impl Fn(&Measured) -> f64,
    ) -> Figure {
        let mut figure = Figure::new(name, unit, self.each(figure));
        figure.void.clone_from(&self.broken);
        figure
    }

    /// Rate and processor time.
    pub(crate) fn figures(&self, name: &str) -> [Figure; 2] {
        [
            self.figure(name, "records/s", Measured::rate),
            self.figure(format!("{name}.cpu"), "us/record", Measured::processor_micros_per_message),
        ]
    }
}

/// What was measured without rounds.
pub(crate) fn measured_once(measured: Measured) -> Samples {
    let mut samples = Samples::default();
    samples.take(measured, true);
    samples
}

/// A ratio of two sides, round by round; void when either promise was broken.
pub(crate) fn ratio(
    name: impl Into<String>,
    goal: Option<Goal>,
    (over, over_of): (&Samples, impl Fn(&Measured) -> f64),
    (under, under_of): (&Samples, impl Fn(&Measured) -> f64),
) -> Figure {
    let pairs = over.each(over_of).into_iter().zip(under.each(under_of));
    combined(name, "ratio", goal, &[over, under], pairs.map(|(over, under)| over / under).collect())
}

/// A figure made of several sides.
pub(crate) fn combined(
    name: impl Into<String>,
    unit: &'static str,
    goal: Option<Goal>,
    sides: &[&Samples],
    samples: Vec<f64>,
) -> Figure {
    let mut figure = Figure::new(name, unit, samples);
    figure.goal = goal;
    figure.void = sides.iter().find_map(|side| side.broken.clone());
    figure
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(rates: &[u64]) -> Samples {
        let mut samples = Samples::default();
        for messages in rates {
            let measured = Measured { messages: *messages, seconds: 1.0, ..Measured::default() };
            samples.take(measured, true);
        }
        samples
    }

    #[test]
    fn a_ratio_is_taken_round_by_round() {
        let (fast, slow) = (samples(&[100, 200]), samples(&[50, 50]));
        let ratio = ratio("r", None, (&fast, Measured::rate), (&slow, Measured::rate));
        let wanted = [2.0, 4.0];
        assert!(
            ratio.samples.iter().zip(wanted).all(|(found, wanted)| (found - wanted).abs() < 1e-9)
        );
        assert_eq!(ratio.void, None);
    }

    #[test]
    fn what_broke_in_the_round_that_is_thrown_away_voids_the_figures_too() {
        let (good, mut bad) = (samples(&[1]), Samples::default());
        let broken = Some("2 are lost".to_owned());
        bad.take(Measured { broken, ..Measured::default() }, false);
        bad.take(Measured { messages: 1, seconds: 1.0, ..Measured::default() }, true);
        assert_eq!(bad.rounds.len(), 1);
        let ratio = ratio("r", None, (&good, Measured::rate), (&bad, Measured::rate));
        assert_eq!(ratio.void.as_deref(), Some("2 are lost"));
        assert!(good.figures("g").iter().all(|figure| figure.void.is_none()));
    }
}
