//! Lets handlers run as if they were on the service's own runtime.
//!
//! actix-server gives each worker a runtime of its own, also when it was started inside one (read in
//! `worker.rs`: the current-thread runtime is built whether or not there is a handle). What a handler opens there
//! (a database connection, a timer, a task) would belong to that worker and die with it, while pools are shared by
//! all workers. So each poll enters the service's runtime first: sockets, timers and tasks made by a handler
//! belong to it, and the worker only polls. Dropping happens there too, because a dropped database connection
//! goes back to its pool in a task.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use actix_web::body::BoxBody;
use actix_web::dev::ServiceRequest;
use actix_web::middleware::Next;
use futures::future::LocalBoxFuture;
use tokio::runtime::Handle;

use super::Outcome;
use crate::chain::Chain;

pub(crate) async fn home_runtime(request: ServiceRequest, next: Next<BoxBody>) -> Outcome {
    let home = Chain::of(request.request()).runtime.clone();
    Entered { home, work: Some(Box::pin(next.call(request))) }.await
}

struct Entered<T> {
    home: Handle,
    work: Option<LocalBoxFuture<'static, T>>,
}

impl<T> Future for Entered<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let this = &mut *self;
        let _inside = this.home.enter();
        match &mut this.work {
            Some(work) => work.as_mut().poll(context),
            // Only `drop` takes the work away.
            None => Poll::Pending,
        }
    }
}

impl<T> Drop for Entered<T> {
    fn drop(&mut self) {
        let _inside = self.home.enter();
        self.work = None;
    }
}
