//! The route table: which requests the gateway passes on, to whom, for whom, how many and for how long.
//!
//! Deny by default: a path or method that no entry names is answered here. The table is read once at the start,
//! either the one compiled in or a file that replaces it whole, and everything wrong with it is reported together:
//! a table that is half right would leave a door open or shut that nobody looks at again.
//!
//! No actix types here: the table says what is wanted, the http room does it.

mod entry;
mod read;
mod template;

pub(crate) use entry::{Auth, Method, QuotaBy, Route, UpstreamName};
pub(crate) use read::RouteTable;
