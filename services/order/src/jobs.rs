//! Work that nobody asks for: it is done when its time has come.

pub(crate) mod expire_unpaid;
