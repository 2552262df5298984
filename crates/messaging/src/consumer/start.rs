//! From a description to running loops: one for the topic, one for its retry topics where there are any.

use std::sync::Arc;

use millrace_runtime::{CancellationToken, Tasks};
use tokio::runtime::Handle;

use super::call::Caller;
use super::control::Control;
use super::health::Board;
use super::identity::Identity;
use super::lanes::Portion;
use super::meters::Meters;
use super::mode::Order;
use super::poll::PollLoop;
use super::schedule::Limits;
use super::session::Session;
use super::{ConsumeError, Consumer, ConsumerHandle, Parts};
use crate::{Handler, KafkaSettings};

/// Records of one lane that a handler of single records gets without a look at the schedule in between.
const RUN_RECORDS_MAX: usize = 32;

impl<H: Handler> Consumer<H> {
    /// Starts to hand over records from the group's committed offsets (the topic's beginning when there are none)
    /// until `stop` is cancelled. A missing topic or broker is waited for and shows in the health.
    ///
    /// # Errors
    /// See [`ConsumeError`].
    pub fn start(
        self,
        settings: &KafkaSettings,
        tasks: &Tasks,
        stop: CancellationToken,
    ) -> Result<ConsumerHandle, ConsumeError> {
        let runtime = Handle::try_current().map_err(ConsumeError::NoRuntime)?;
        let order = self.mode.order();
        let order_free = order == Order::None;
        let policy = self.policy.unwrap_or_else(|| settings.retry_policy());
        policy.check(order_free).map_err(ConsumeError::Policy)?;
        let named = Some(settings.instance_id.clone()).filter(|id| !id.is_empty());
        let instance_id = self.mode.instance_id().map(str::to_owned).or(named);
        let identity =
            Identity::new(settings, self.group, self.topic.clone(), order_free, instance_id);
        let parts = Parts {
            settings,
            handler: Arc::new(self.handler),
            policy,
            order,
            concurrency: self.concurrency.unwrap_or(settings.concurrency),
            dead_letters: self.dead_letters,
            epochs: self.epochs,
        };
        let identities = if order_free {
            let retries = identity.of_retries();
            vec![identity, retries]
        } else {
            vec![identity]
        };
        let closed = CancellationToken::new();
        let mut handle = ConsumerHandle {
            group: self.group,
            topic: self.topic,
            control: Vec::new(),
            boards: Vec::new(),
            closed: closed.clone(),
        };
        let loops: Vec<(Arc<Identity>, CancellationToken)> = identities
            .into_iter()
            .map(|identity| parts.start(Arc::new(identity), &runtime, tasks, &stop, &mut handle))
            .collect::<Result<_, _>>()
            .inspect_err(|_| stop.cancel())?;
        tasks.spawn(format!("consumer {} of {}", handle.group, handle.topic), async move {
            let _closed = closed.drop_guard();
            for (_, ended) in &loops {
                ended.cancelled().await;
            }
        });
        Ok(handle)
    }
}

impl<H: Handler> Parts<'_, H> {
    /// Starts one loop on a thread of its own; the token is cancelled when it has ended.
    fn start(
        &self,
        identity: Arc<Identity>,
        runtime: &Handle,
        tasks: &Tasks,
        stop: &CancellationToken,
        handle: &mut ConsumerHandle,
    ) -> Result<(Arc<Identity>, CancellationToken), ConsumeError> {
        let board = Arc::new(Board::new(self.settings.stall_limit));
        let control = Arc::new(Control::new(self.concurrency));
        handle.boards.push(Arc::clone(&board));
        handle.control.push(Arc::clone(&control));
        // Cancelled when the supervising task is dropped: a runtime that goes away takes the thread with it.
        let unsupervised = CancellationToken::new();
        let session = Session::open(self.settings, &identity).map_err(ConsumeError::Create)?;
        let poll_loop = PollLoop {
            settings: self.settings.clone(),
            identity: Arc::clone(&identity),
            caller: Arc::new(self.caller(&identity, &board)),
            order: self.order,
            limits: self.limits(),
            epochs: self.epochs.clone(),
            control,
            board,
            tasks: tasks.clone(),
            stop: stop.clone(),
            unsupervised: unsupervised.clone(),
        };
        let (told, end) = tokio::sync::oneshot::channel();
        let runtime = runtime.clone();
        std::thread::Builder::new()
            .name(format!("kafka-{}", identity.group))
            .spawn(move || {
                let _inside = runtime.enter();
                let run = std::panic::AssertUnwindSafe(|| poll_loop.run(session));
                let outcome = std::panic::catch_unwind(run);
                poll_loop.board.stopped();
                // Nobody listens any more when the runtime is gone.
                drop(told.send(outcome));
            })
            .map_err(ConsumeError::Thread)?;
        let ended = CancellationToken::new();
        let done = ended.clone();
        let (group, broker_group) = (identity.group, identity.broker_group.clone());
        tasks.spawn(format!("poll loop of {broker_group}"), async move {
            let _supervised = unsupervised.drop_guard();
            let _done = done.drop_guard();
            if let Ok(Err(panic)) = end.await {
                tracing::error!(group, broker_group, "poll loop panicked");
                // The supervisor ends as the loop did, so that the task board names it.
                std::panic::resume_unwind(panic);
            }
        });
        Ok((identity, ended))
    }

    fn caller(&self, identity: &Arc<Identity>, board: &Arc<Board>) -> Caller<H> {
        Caller {
            identity: Arc::clone(identity),
            handler: Arc::clone(&self.handler),
            policy: self.policy.clone(),
            store: self.dead_letters.clone(),
            board: Arc::clone(board),
            meters: Meters::of(identity),
            singly: self.singly(),
        }
    }

    fn limits(&self) -> Limits {
        let bytes = usize::try_from(self.settings.batch_bytes_max.as_u64()).unwrap_or(usize::MAX);
        let wanted = self.handler.batch_records_max().unwrap_or(usize::MAX);
        let portion = if self.singly() {
            Portion { lanes: 1, records: RUN_RECORDS_MAX, bytes }
        } else {
            let records = wanted.min(self.settings.batch_records_max).max(1);
            Portion { lanes: usize::MAX, records, bytes }
        };
        Limits { concurrency: self.concurrency, portion, flood: self.settings.flood_failures }
    }

    fn singly(&self) -> bool {
        let wanted = self.handler.batch_records_max().unwrap_or(usize::MAX);
        wanted.min(self.settings.batch_records_max) <= 1
    }
}
