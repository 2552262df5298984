//! Puts the gateway together; the only file that sees every room.

use std::sync::Arc;

use millrace_common::runtime::Clock;
use millrace_common::{Application, Chassis, StartError};
use reqwest::Url;

use crate::config::Settings;
use crate::http::{self, Door, Edge};
use crate::routes::{RouteTable, UpstreamName};
use crate::upstream::{Upstream, build_client};
use crate::{health, openapi};

/// The gateway of these settings, bound and answering.
///
/// # Errors
/// When a part can't be set up: the key file, the HTTP client, a port.
pub async fn build(settings: Settings) -> Result<Application, StartError> {
    build_with(settings, Clock::system()).await
}

/// The same with limits and circuits on a clock of the caller's; deadlines stay with the machine's.
///
/// # Errors
/// As [`build`].
pub async fn build_with(settings: Settings, clock: Clock) -> Result<Application, StartError> {
    let mut chassis = Chassis::new::<Settings>(&settings);
    chassis.verifier(&settings.auth)?;
    chassis.request_log(&settings.kafka, &settings.request_log)?;
    let table = RouteTable::load(&settings.gateway.routes_file)
        .map_err(|problems| StartError::new("the route table", problems))?;
    let upstreams = upstreams(&settings, &clock)?;
    health::register(&chassis.health(), &upstreams);
    let description =
        openapi::document().map_err(|cause| StartError::new("the API's description", cause))?;
    chassis.openapi(description);
    let edge = edge(&settings, &table, &upstreams, &clock);
    chassis.serve(move |config| http::routes(config, &edge)).await
}

fn upstreams(settings: &Settings, clock: &Clock) -> Result<Vec<Arc<Upstream>>, StartError> {
    let client = build_client(&settings.upstreams)
        .map_err(|cause| StartError::new("the connections to upstreams", cause))?;
    let one = |name: &UpstreamName| {
        let base = Url::parse(settings.upstreams.base(*name))
            .map_err(|cause| StartError::new("an upstream's address", cause))?;
        let policy = settings.breaker.policy();
        Ok(Arc::new(Upstream::new(*name, base, client.clone(), policy, clock.clone())))
    };
    UpstreamName::ALL.iter().map(one).collect()
}

/// Doors hold limits and circuits, so they are made here and once: actix builds its routes once a worker.
fn edge(
    settings: &Settings,
    table: &RouteTable,
    upstreams: &[Arc<Upstream>],
    clock: &Clock,
) -> Edge {
    let doors = table.routes().iter().filter_map(|route| {
        let upstream = upstreams.iter().find(|upstream| upstream.name() == route.upstream)?;
        let (upstream, proxies) = (Arc::clone(upstream), settings.gateway.proxies_trusted);
        Some(Arc::new(Door::new(route.clone(), upstream, proxies, clock.clone())))
    });
    Edge {
        doors: doors.collect(),
        cors_origins: settings.gateway.cors_origins.clone().into(),
        cors_max_age: settings.gateway.cors_max_age,
    }
}
