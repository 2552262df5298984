//! `/actuator/leases`: who may act now, who waits, and which tokens the sinks have seen.

use actix_web::web::{self, Data, ServiceConfig};
use millrace_coordination::{LeaseList, LeaseStatus, Leases};
use millrace_http::Reply;
use serde::Serialize;

#[derive(Debug, Serialize)]
struct LeaseListView {
    /// False = Redis didn't answer: `held` and `waiters` are unknown.
    redis: bool,
    /// False = the database didn't answer: `sink` is unknown.
    database: bool,
    leases: Vec<LeaseView>,
}

#[derive(Debug, Serialize)]
struct LeaseView {
    name: String,
    held: Option<HeldView>,
    waiters: Option<usize>,
    sink: Option<SinkView>,
}

#[derive(Debug, Serialize)]
struct HeldView {
    holder: String,
    token: i64,
    age_ms: u128,
    remaining_ms: u128,
}

#[derive(Debug, Serialize)]
struct SinkView {
    token: i64,
    holder: String,
}

/// The endpoint for these leases; a service without any shows an empty list.
pub(super) fn routes(config: &mut ServiceConfig, leases: Option<Leases>) {
    config.app_data(Data::new(leases)).service(web::resource("/actuator/leases").get(list));
}

async fn list(leases: Data<Option<Leases>>) -> Reply {
    let list = match leases.as_ref() {
        Some(leases) => leases.list().await,
        None => LeaseList { redis: false, database: false, leases: Vec::new() },
    };
    let LeaseList { redis, database, leases } = list;
    let leases = leases.into_iter().map(|lease| view(lease, redis)).collect();
    Reply::ok(LeaseListView { redis, database, leases })
}

fn view(lease: LeaseStatus, redis: bool) -> LeaseView {
    LeaseView {
        name: lease.name,
        held: lease.held.map(|held| HeldView {
            holder: held.holder,
            token: held.token.as_i64(),
            age_ms: held.age.as_millis(),
            remaining_ms: held.remaining.as_millis(),
        }),
        waiters: redis.then_some(lease.waiters),
        sink: lease.sink.map(|sink| SinkView { token: sink.token.as_i64(), holder: sink.holder }),
    }
}
