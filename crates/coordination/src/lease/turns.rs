//! Tells waiters of this process that it is their turn: one subscription, and a board of who listens.
//!
//! The subscription is opened for the first waiter and closed when nobody has waited for a while. Pub/sub keeps
//! nothing: what is published while the connection is down is lost. Nothing here mends that, because a waiter looks
//! by itself too; a lost message costs it tens of milliseconds.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use futures::StreamExt as _;
use millrace_runtime::Tasks;
use millrace_telemetry::error_chain;
use redis::RedisResult;
use redis::aio::{PubSub, PubSubSink};
use tokio::sync::Notify;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::keys::turns_channel;
use crate::Redis;

/// The subscription is looked after so often: closed when unused, and asked whether it is alive.
const UPKEEP: Duration = Duration::from_secs(5);
/// Between attempts to open it while Redis is away.
const RETRY: Duration = Duration::from_millis(500);
/// How long an answer to a ping may take.
const PONG_WITHIN: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(super) struct Turns {
    redis: Redis,
    tasks: Tasks,
    // A std mutex: it is held for a map update, never over an await.
    board: Mutex<Board>,
    /// For the task, which must not keep the board alive.
    this: Weak<Self>,
}

#[derive(Debug, Default)]
struct Board {
    listeners: HashMap<String, Arc<Notify>>,
    subscribed: bool,
    /// Somebody listened since the last upkeep.
    used: bool,
}

/// A place on the board; dropping it ends the listening.
#[derive(Debug)]
pub(super) struct Turn {
    turns: Arc<Turns>,
    id: String,
    notify: Arc<Notify>,
}

impl Turns {
    pub(super) fn new(redis: Redis, tasks: Tasks) -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            redis,
            tasks,
            board: Mutex::default(),
            this: Weak::clone(this),
        })
    }

    pub(super) fn listen(self: &Arc<Self>, id: &str) -> Turn {
        let notify = Arc::new(Notify::new());
        let mut board = self.board();
        board.listeners.insert(id.to_owned(), Arc::clone(&notify));
        board.used = true;
        if !std::mem::replace(&mut board.subscribed, true) {
            let _home = self.redis.home().enter();
            let turns = Weak::clone(&self.this);
            let subscription = Subscription { turns, signed_off: false };
            self.tasks.spawn("lease-turns", subscription.keep(self.redis.clone()));
        }
        drop(board);
        Turn { turns: Arc::clone(self), id: id.to_owned(), notify }
    }

    fn tell(&self, id: &str) {
        if let Some(notify) = self.board().listeners.get(id) {
            notify.notify_one();
        }
    }

    /// False when nobody has listened since the last time: the subscription then ends.
    fn is_needed(&self) -> bool {
        let mut board = self.board();
        let used = std::mem::take(&mut board.used) || !board.listeners.is_empty();
        board.subscribed = used;
        used
    }

    fn board(&self) -> std::sync::MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn {
    pub(super) fn notified(&self) -> Arc<Notify> {
        Arc::clone(&self.notify)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.turns.board().listeners.remove(&self.id);
    }
}

/// The task's side. However it ends, the next listener starts another one.
struct Subscription {
    turns: Weak<Turns>,
    /// It ended because it isn't needed, and the board knows.
    signed_off: bool,
}

impl Subscription {
    async fn keep(mut self, redis: Redis) {
        let channel = turns_channel(&redis);
        loop {
            match redis.subscribe(&channel).await {
                Ok(subscription) => {
                    if self.listen(subscription).await.is_break() {
                        break;
                    }
                }
                Err(error) => {
                    let error = error_chain(&error);
                    tracing::debug!(error, "no subscription to the turns of leases, waiters look");
                    sleep(RETRY).await;
                    if !self.is_needed() {
                        break;
                    }
                }
            }
        }
        self.signed_off = true;
    }

    /// Passes on what comes; breaks when nobody listens, goes on when the connection has to be opened anew.
    async fn listen(&self, subscription: PubSub) -> ControlFlow<()> {
        let (mut sink, mut messages) = subscription.split();
        let mut upkeep = interval(UPKEEP);
        upkeep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        upkeep.tick().await;
        loop {
            tokio::select! {
                message = messages.next() => {
                    let Some(message) = message else { return ControlFlow::Continue(()) };
                    let id: RedisResult<String> = message.get_payload();
                    let (Ok(id), Some(turns)) = (id, self.turns.upgrade()) else { continue };
                    turns.tell(&id);
                }
                _ = upkeep.tick() => {
                    if !self.is_needed() {
                        return ControlFlow::Break(());
                    }
                    if !is_alive(&mut sink).await {
                        return ControlFlow::Continue(());
                    }
                }
            }
        }
    }

    /// Once it has said no, another subscription may begin.
    fn is_needed(&self) -> bool {
        self.turns.upgrade().is_some_and(|turns| turns.is_needed())
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        if let Some(turns) = self.turns.upgrade().filter(|_| !self.signed_off) {
            turns.board().subscribed = false;
        }
    }
}

async fn is_alive(sink: &mut PubSubSink) -> bool {
    let pong = timeout(PONG_WITHIN, sink.ping::<redis::Value>());
    matches!(pong.await, Ok(Ok(_)))
}
