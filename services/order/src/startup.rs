//! Puts the service together; the only file that sees every room.

use std::sync::Arc;

use millrace_common::http::cursor::CursorSigner;
use millrace_common::messaging::Consumer;
use millrace_common::{Application, Chassis, StartError};
use millrace_contracts::{Topic, groups};

use crate::app::App;
use crate::config::Settings;
use crate::consumers::{InventoryEvents, PaymentResults, ProductChanges};
use crate::http::{CallbackVerifier, HttpState, openapi, routes};
use crate::jobs::expire_unpaid::{self, ExpireUnpaid};

/// Builds and starts the service.
///
/// # Errors
/// When a part can't be set up; that PostgreSQL, Kafka or Redis are away is not such a case.
pub async fn build(settings: Settings) -> Result<Application, StartError> {
    let (application, _jobs) = build_with_jobs(settings).await?;
    Ok(application)
}

/// The jobs of a running service, to be run by hand.
#[derive(Debug, Clone)]
pub struct Jobs {
    expire_unpaid: ExpireUnpaid,
}

impl Jobs {
    /// Runs the expiry of unpaid orders once, now, like its timer does.
    pub async fn expire_unpaid(&self) {
        self.expire_unpaid.run().await;
    }
}

/// [`build`], and the jobs by hand: a test drives them instead of waiting for their time.
///
/// # Errors
/// As [`build`].
pub async fn build_with_jobs(settings: Settings) -> Result<(Application, Jobs), StartError> {
    let mut chassis = Chassis::new(&settings);
    let pool = chassis.database(&settings.database)?;
    let redis = chassis.redis(&settings.redis)?;
    chassis.verifier(&settings.auth)?;
    chassis.openapi(openapi::document());
    chassis.request_log(&settings.kafka, &settings.request_log)?;
    let waker = chassis.relay(&pool, &settings.kafka, &settings.outbox);
    let dead_letters = chassis.dead_letters(&pool, &waker);
    let app = App::new(pool.clone(), waker, chassis.clock(), settings.order.rules());

    let handler = InventoryEvents { app: app.clone() };
    let consumer = Consumer::new(groups::ORDER_RESERVATIONS, Topic::InventoryEvents, handler);
    chassis.consume(&settings.kafka, consumer.dead_letters(Arc::clone(&dead_letters)))?;
    let handler = PaymentResults { app: app.clone() };
    let consumer = Consumer::new(groups::ORDER_PAYMENTS, Topic::PaymentResults, handler);
    chassis.consume(&settings.kafka, consumer.dead_letters(Arc::clone(&dead_letters)))?;
    let handler = ProductChanges { app: app.clone() };
    let consumer = Consumer::new(groups::ORDER_PRODUCTS, Topic::ProductChanges, handler);
    chassis.consume(&settings.kafka, consumer.dead_letters(Arc::clone(&dead_letters)))?;

    let leases = chassis.leases(&redis, &pool);
    let interval = settings.order.expiry_interval;
    let expire_unpaid = ExpireUnpaid::new(app.clone(), leases, chassis.tasks(), interval);
    let job = expire_unpaid.clone();
    chassis.job(expire_unpaid::NAME, interval, move || {
        let job = job.clone();
        async move { job.run().await }
    });

    let jobs = Jobs { expire_unpaid };
    let state = HttpState {
        app,
        callbacks: CallbackVerifier::new(
            &settings.order.payment_secret,
            settings.order.payment_window,
        ),
        cursors: CursorSigner::new(&settings.order.cursor_secret),
    };
    let application = chassis.serve(move |config| routes(config, state.clone())).await?;
    Ok((application, jobs))
}
