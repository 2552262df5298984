#![doc = include_str!("../README.md")]

pub mod calendar;
mod dispatch;
mod event;
mod handler;
mod metrics;
mod migrations;
mod pass;
mod plan;
pub mod policy;
mod run;
pub mod schedules;
mod settings;
mod settle;
mod store;
pub mod task;
pub mod upkeep;
mod watch;
mod worker;

pub use dispatch::{
    DispatchError, Dispatcher, DispatcherHealth, DispatcherParts, DispatcherStatus, LEASE, Role,
    ScheduleWaker,
};
pub use event::{TaskDue, TaskEvent};
pub use handler::{TaskError, TaskHandler};
pub use migrations::MIGRATIONS;
pub use pass::PassError;
pub use run::{RunError, RunTransaction, TaskRun};
pub use schedules::{ChangeJournal, ScheduleError, Schedules};
pub use settings::{DEFAULTS, SchedulerSettings, WithoutRedis};
pub use store::state::{OccurrenceKind, OccurrenceState};
pub use task::{TaskForm, TaskId, TaskSpec};
pub use worker::{Worker, WorkerBuilder};
