#![doc = include_str!("../README.md")]

mod admin;
pub mod auth;
mod chain;
pub mod codes;
mod context;
pub mod cursor;
mod docs;
mod error;
pub mod extract;
pub mod health;
mod middleware;
mod record;
mod reply;
pub mod search;
mod server;
mod settings;

pub use admin::AdminRoutes;
pub use auth::{Admin, Authenticate, Caller, Verifier, VerifierError};
pub use context::{actor_context, message_context};
pub use error::{ApiError, FieldProblem};
pub use extract::{Json, Path, Query, RawBody, RequestDeadline, json_from_slice};
pub use health::{Component, Health, Status};
pub use record::{RequestLog, RequestRecord};
pub use reply::{ErrorData, ErrorReply, Reply, ReplyForm};
pub use server::{BoundServer, RunningServer, Server, ServerError, ServerParts};
pub use settings::{AUTH_DEFAULTS, AuthSettings, HTTP_DEFAULTS, HttpSettings};
