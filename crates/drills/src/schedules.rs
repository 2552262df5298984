//! The schedule drill: tasks that fire each second, and dispatchers and workers that are killed in turn.
//!
//! Nobody notes anything. The database's rows say when a task was due, what was dispatched (a trigger copies each message
//! that is appended) and what took effect, in a table without any key that would forbid a repeat.

pub mod ground;
pub mod instance;
