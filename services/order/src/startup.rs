//! Puts the service together; the only file that sees every room.

use std::sync::Arc;

use millrace_common::http::cursor::CursorSigner;
use millrace_common::messaging::Consumer;
use millrace_common::{Application, Chassis, SchedulerStores, StartError};
use millrace_contracts::{Topic, groups};

use crate::app::App;
use crate::config::Settings;
use crate::consumers::{InventoryEvents, PaymentResults, ProductChanges};
use crate::http::{CallbackVerifier, HttpState, openapi, routes};
use crate::tasks::{journal, tasks};

/// Builds and starts the service.
///
/// # Errors
/// When a part can't be set up; that PostgreSQL, Kafka or Redis are away is not such a case.
pub async fn build(settings: Settings) -> Result<Application, StartError> {
    let mut chassis = Chassis::new(&settings);
    let pool = chassis.database(&settings.database)?;
    let redis = chassis.redis(&settings.redis)?;
    chassis.verifier(&settings.auth)?;
    chassis.openapi(openapi::document());
    chassis.request_log(&settings.kafka, &settings.request_log)?;
    let relay = chassis.relay(&pool, &settings.kafka, &settings.outbox);
    let dead_letters = chassis.dead_letters(&pool, &relay);
    let app = App::new(pool.clone(), relay.clone(), chassis.clock(), settings.order.rules());

    let handler = InventoryEvents { app: app.clone() };
    let consumer = Consumer::new(groups::ORDER_RESERVATIONS, Topic::InventoryEvents, handler);
    chassis.consume(&settings.kafka, consumer.dead_letters(Arc::clone(&dead_letters)))?;
    let handler = PaymentResults { app: app.clone() };
    let consumer = Consumer::new(groups::ORDER_PAYMENTS, Topic::PaymentResults, handler);
    chassis.consume(&settings.kafka, consumer.dead_letters(Arc::clone(&dead_letters)))?;
    let handler = ProductChanges { app: app.clone() };
    let consumer = Consumer::new(groups::ORDER_PRODUCTS, Topic::ProductChanges, handler);
    chassis.consume(&settings.kafka, consumer.dead_letters(Arc::clone(&dead_letters)))?;

    let stores = SchedulerStores {
        pool: &pool,
        redis: &redis,
        relay: &relay,
        kafka: &settings.kafka,
        settings: &settings.scheduler,
    };
    chassis.scheduler(stores, tasks(&app, &settings.order), journal(chassis.clock()))?;

    let state = HttpState {
        app,
        callbacks: CallbackVerifier::new(
            &settings.order.payment_secret,
            settings.order.payment_window,
        ),
        cursors: CursorSigner::new(&settings.order.cursor_secret),
    };
    chassis.serve(move |config| routes(config, state.clone())).await
}
