//! Three brokers: what is felt of a leader's loss and of a second member.

use std::time::Duration;

use anyhow::{Context, Result};
use millrace_benches::report::{Figure, Goal};
use millrace_testkit::cluster::KafkaCluster;

use crate::bench::{BARE_TOPIC, Bench, PARTITIONS, Topic, combined};
use crate::job::{Measured, Work};
use crate::records::{Form, RecordSet, Spread, TOPIC};

const INTERVAL: Duration = Duration::from_millis(5);
const KEYS: u32 = 100;
const GAP_RATIO: f64 = 1.1;
const UNTOUCHED_GOAL_MS: f64 = 300.0;
/// Thirty seconds of traffic: longer than a loss is felt, as a rule.
const LOSS_RECORDS: u32 = 6000;
const JOIN_INTERVAL: Duration = Duration::from_millis(1);
/// Fifteen seconds of traffic, some 160 records a second for each partition.
const JOIN_RECORDS: u32 = 15_000;

/// How a leader is lost.
#[derive(Debug, Clone, Copy)]
enum Loss {
    Killed,
    Stopped,
}

/// The leader of both sides' partitions is killed, or stopped.
pub(crate) async fn leader_lost(bench: &mut Bench) -> Result<Vec<Figure>> {
    let cluster = KafkaCluster::start(3).await?;
    let set = set_of(LOSS_RECORDS);
    let samples = bench
        .measure_sides(&[Loss::Killed, Loss::Stopped], async |bench, loss| {
            cluster.heal().await?;
            let topic = Topic::on_cluster(&cluster, 1).await;
            let (product, bare) = (topic.named(TOPIC.as_str()), topic.named(BARE_TOPIC));
            let leader = cluster.leader_of(&product, 0).await;
            cluster.move_leader(&bare, 0, leader).await.context("moving a leader")?;
            let work = Work::LeaderLost { set, interval: INTERVAL, bare_topic: bare };
            let process = bench.start_work(&topic, work)?;
            process.ready().await?;
            match loss {
                Loss::Killed => cluster.broker(leader).kill(),
                Loss::Stopped => cluster.broker(leader).pause(),
            }
            let measured = process.answer().await;
            cluster.heal().await?;
            measured
        })
        .await?;
    let mut figures = Vec::new();
    for (name, samples) in ["killed", "stopped"].iter().zip(&samples) {
        let ratio = |measured: &Measured| gap(measured, 0) / gap(measured, 1);
        let goal = Some(Goal::AtMost(GAP_RATIO));
        let name = format!("leader_{name}");
        figures.extend([
            combined(format!("{name}.gap_ratio"), "ratio", goal, &[samples], samples.each(ratio)),
            samples.figure(format!("{name}.consumption_gap"), "ms", |measured| gap(measured, 0)),
            samples.figure(format!("{name}.bare_producer_gap"), "ms", |measured| gap(measured, 1)),
            samples.figure(format!("{name}.producer_gap"), "ms", |measured| gap(measured, 2)),
            samples.figure(format!("{name}.repeats"), "records", |measured| {
                crate::job::count(measured.repeats)
            }),
        ]);
    }
    Ok(figures)
}

/// A second member joins a consumer's group; partitions that stay must hardly notice.
pub(crate) async fn second_member(bench: &mut Bench) -> Result<Vec<Figure>> {
    let cluster = KafkaCluster::start(3).await?;
    let set = set_of(JOIN_RECORDS);
    let samples = bench
        .measure_sides(&["join"], async |bench, _| {
            let topic = Topic::on_cluster(&cluster, PARTITIONS).await;
            let work = Work::SecondMember { set, interval: JOIN_INTERVAL };
            bench.start_work(&topic, work)?.answer().await
        })
        .await?;
    let [joins] = &samples[..] else { anyhow::bail!("a side is missing") };
    let worst = |measured: &Measured| measured.latencies_ms.iter().copied().fold(0.0, f64::max);
    Ok(vec![
        joins
            .figure("second_member.untouched_gap", "ms", worst)
            .goal(Goal::AtMost(UNTOUCHED_GOAL_MS)),
        joins.figure("second_member.repeats", "records", |measured| {
            crate::job::count(measured.repeats)
        }),
    ])
}

fn set_of(count: u32) -> RecordSet {
    RecordSet { count, keys: KEYS, form: Form::Enveloped, spread: Spread::Even, seed: 7 }
}

/// The gap of the product's consumption stands first, the bare producer's second, the product's producer's third.
fn gap(measured: &Measured, at: usize) -> f64 {
    measured.latencies_ms.get(at).copied().unwrap_or(f64::NAN)
}
