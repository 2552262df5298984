//! `/actuator/consumers`: what an operator may see and change of a service's consumers while it runs, and beside it
//! `/actuator/leases`.
//!
//! A change takes effect at once, without a rebalance, in this process only, and until it ends: it is no setting, and
//! a restart forgets it. It is logged with the values before and after.

mod leases;

use actix_web::web::{self, Data, ServiceConfig};
use millrace_coordination::Leases;
use millrace_http::{AdminRoutes, ApiError, Component, Json, Path, Reply, codes as http_codes};
use millrace_messaging::ConsumerHandle;
use serde::{Deserialize, Serialize};

use crate::{codes, health};

/// More open calls than this are a slip of the finger.
const CONCURRENCY_MAX: u32 = 10_000;

/// One consumer as an operator sees it.
#[derive(Debug, Serialize)]
struct ConsumerView {
    group: &'static str,
    topic: String,
    concurrency: usize,
    paused: bool,
    health: Component,
}

impl ConsumerView {
    fn of(consumer: &ConsumerHandle) -> Self {
        Self {
            group: consumer.group().as_str(),
            topic: consumer.topic().as_str().to_owned(),
            concurrency: consumer.concurrency(),
            paused: consumer.paused(),
            health: health::consumer_component(consumer),
        }
    }
}

#[derive(Debug, Serialize)]
struct ConsumerList {
    consumers: Vec<ConsumerView>,
}

impl ConsumerList {
    fn of<'a>(consumers: impl IntoIterator<Item = &'a ConsumerHandle>) -> Self {
        Self { consumers: consumers.into_iter().map(ConsumerView::of).collect() }
    }
}

/// What shall change; what isn't named stays.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ConsumerChange {
    concurrency: Option<u32>,
    paused: Option<bool>,
}

impl ConsumerChange {
    fn check(&self) -> Result<(), ApiError> {
        if self.concurrency.is_none() && self.paused.is_none() {
            let text = "the body names neither `concurrency` nor `paused`";
            return Err(ApiError::new(&http_codes::INVALID_REQUEST, text));
        }
        match self.concurrency {
            Some(calls) if !(1..=CONCURRENCY_MAX).contains(&calls) => Err(ApiError::invalid(
                "concurrency",
                format!("must be between 1 and {CONCURRENCY_MAX}"),
            )),
            Some(_) | None => Ok(()),
        }
    }

    fn apply(&self, consumer: &ConsumerHandle) {
        let (concurrency_before, paused_before) = (consumer.concurrency(), consumer.paused());
        if let Some(calls) = self.concurrency {
            consumer.set_concurrency(usize::try_from(calls).unwrap_or(usize::MAX));
        }
        match self.paused {
            Some(true) => consumer.pause(),
            Some(false) => consumer.resume(),
            None => {}
        }
        tracing::info!(
            group = consumer.group().as_str(),
            topic = consumer.topic().as_str(),
            concurrency_before,
            concurrency = consumer.concurrency(),
            paused_before,
            paused = consumer.paused(),
            "an operator changed consumer {}",
            consumer.group()
        );
    }
}

/// The endpoints for these consumers and leases.
pub(crate) fn routes(consumers: Vec<ConsumerHandle>, leases: Option<Leases>) -> AdminRoutes {
    let consumers = Data::new(consumers);
    std::sync::Arc::new(move |config: &mut ServiceConfig| {
        leases::routes(config, leases.clone());
        config
            .app_data(Data::clone(&consumers))
            .service(web::resource("/actuator/consumers").get(list))
            .service(web::resource("/actuator/consumers/{group}").put(change));
    })
}

async fn list(consumers: Data<Vec<ConsumerHandle>>) -> Reply {
    Reply::ok(ConsumerList::of(consumers.iter()))
}

async fn change(
    group: Path<String>,
    change: Json<ConsumerChange>,
    consumers: Data<Vec<ConsumerHandle>>,
) -> Result<Reply, ApiError> {
    let of_group: Vec<&ConsumerHandle> =
        consumers.iter().filter(|consumer| consumer.group().as_str() == group.0).collect();
    if of_group.is_empty() {
        return Err(ApiError::new(
            &codes::UNKNOWN_CONSUMER_GROUP,
            "this service has no consumer of that group",
        ));
    }
    change.0.check()?;
    of_group.iter().for_each(|consumer| change.0.apply(consumer));
    Ok(Reply::ok(ConsumerList::of(of_group)))
}
