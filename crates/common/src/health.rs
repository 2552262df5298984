//! What each part says on the health page.

use millrace_coordination::{Redis, RedisHealth};
use millrace_http::{Component, Health};
use millrace_messaging::{ConsumerHandle, ConsumerHealth};
use millrace_outbox::{DatabaseHealth, RelayHealth};
use millrace_runtime::Tasks;
use millrace_scheduler::{DispatcherHealth, Role};
use sqlx::PgPool;

/// `db`: without it no request can be answered, so it also decides readiness.
pub(crate) fn require_database(health: &Health, pool: &PgPool) {
    let pool = pool.clone();
    health.require("db", move || {
        let pool = pool.clone();
        async move {
            let answer = DatabaseHealth::ask(&pool).await;
            let component = if answer.up { Component::up() } else { Component::down("no answer") };
            component.with("open", answer.open).with("idle", answer.idle)
        }
    });
}

/// `redis`: requests can do without it.
pub(crate) fn register_redis(health: &Health, redis: &Redis) {
    let redis = redis.clone();
    health.register("redis", move || {
        let redis = redis.clone();
        async move {
            let answer = RedisHealth::ask(&redis).await;
            let component = if answer.up { Component::up() } else { Component::down("no answer") };
            component.with("open", answer.open).with("idle", answer.idle)
        }
    });
}

/// `outbox`: what waits to be published, and for how long.
pub(crate) fn register_relay(health: &Health, relay: RelayHealth) {
    health.register("outbox", move || {
        let status = relay.status();
        async move {
            let component = if status.connected {
                Component::up()
            } else {
                Component::down("the relay has no database session")
            };
            component
                .with("backlog", status.backlog)
                .with("oldestSeconds", status.oldest.as_secs())
                .with("heldAggregates", status.held_aggregates)
                .with("setAside", status.set_aside)
        }
    });
}

/// `scheduler`: what this instance does about dispatching; DOWN when it should dispatch and can't.
pub(crate) fn register_scheduler(health: &Health, dispatcher: DispatcherHealth) {
    health.register("scheduler", move || {
        let status = dispatcher.status();
        async move {
            let component = match (status.healthy(), status.role) {
                (true, _) => Component::up(),
                (false, Role::WithoutRedis) => {
                    Component::down("Redis is away, nothing is dispatched until it is back")
                }
                (false, _) => Component::down("due tasks can't be dispatched"),
            };
            let role = match status.role {
                Role::Standby => "standby",
                Role::Leading => "leading",
                Role::Unleased => "unleased",
                Role::WithoutRedis => "withoutRedis",
            };
            let component = component.with("role", role);
            match status.last_look {
                Some(since) => component.with("lastLookSeconds", since.as_secs()),
                None => component,
            }
        }
    });
}

/// `kafkaConsumer`: all consumers of the service as one component, and each group's own figures in it.
/// A stalled one is also the reason for a restart.
pub(crate) fn register_consumers(health: &Health, consumers: Vec<ConsumerHandle>) {
    if consumers.is_empty() {
        return;
    }
    for consumer in consumers.clone() {
        let group = consumer.group();
        health.liveness(move || {
            let now = consumer.health();
            if now.stalled { Err(format!("consumer {group} is stalled")) } else { Ok(()) }
        });
    }
    health.register("kafkaConsumer", move || {
        let component = all_consumers(&consumers);
        async move { component }
    });
}

fn all_consumers(consumers: &[ConsumerHandle]) -> Component {
    let now: Vec<_> =
        consumers.iter().map(|consumer| (consumer.group(), consumer.health())).collect();
    let ailing = now.iter().find_map(|(group, health)| Some((group, ailment(health)?)));
    let component = match ailing {
        Some((group, reason)) => Component::down(format!("{group}: {reason}")),
        None => Component::up(),
    };
    let last_poll = now.iter().map(|(_, health)| health.last_poll).max().unwrap_or_default();
    let total = ConsumerHealth {
        lag: now.iter().map(|(_, health)| health.lag).sum(),
        partition_count: now.iter().map(|(_, health)| health.partition_count).sum(),
        dead_lettered: now.iter().map(|(_, health)| health.dead_lettered).sum(),
        left_out: now.iter().map(|(_, health)| health.left_out).sum(),
        last_poll,
        ..ConsumerHealth::default()
    };
    let mut component = figures(component, &total);
    for (group, health) in now {
        if let Some(reason) = health.reason {
            component = component.with(group.as_str(), reason);
        }
    }
    component
}

/// One consumer as a component of its own.
pub(crate) fn consumer_component(consumer: &ConsumerHandle) -> Component {
    let health = consumer.health();
    let component = match (ailment(&health), &health.reason) {
        (Some(ailment), _) => Component::down(ailment),
        (None, Some(reason)) => Component::up().with("reason", reason.as_str()),
        (None, None) => Component::up(),
    };
    figures(component, &health)
}

/// Why a consumer counts as DOWN, if it does. One that waits for a broker or a topic doesn't.
fn ailment(health: &ConsumerHealth) -> Option<&str> {
    (health.stalled || !health.running)
        .then(|| health.reason.as_deref().unwrap_or("its poll loop has ended"))
}

fn figures(component: Component, health: &ConsumerHealth) -> Component {
    component
        .with("lag", health.lag)
        .with("partitionCount", health.partition_count)
        .with("lastPollMs", u64::try_from(health.last_poll.as_millis()).unwrap_or(u64::MAX))
        .with("deadLettered", health.dead_lettered)
        .with("leftOut", health.left_out)
}

/// `tasks`: a task that panicked is a part of the service that no longer works.
pub(crate) fn register_tasks(health: &Health, tasks: Tasks) {
    health.register("tasks", move || {
        let panicked = tasks.panicked();
        async move {
            if panicked.is_empty() {
                Component::up()
            } else {
                Component::down(format!("ended by a panic: {}", panicked.join(", ")))
            }
        }
    });
}
