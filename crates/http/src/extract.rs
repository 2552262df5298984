//! Extractors that say which field is wrong, in the reply form.

mod body;
mod deadline;
mod json;
mod path;
mod query;
mod serde_problem;

pub use body::RawBody;
pub use deadline::RequestDeadline;
pub use json::{Json, json_from_slice};
pub use path::Path;
pub use query::Query;
