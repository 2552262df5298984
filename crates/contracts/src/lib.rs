#![doc = include_str!("../README.md")]

pub mod codes;
pub mod events;
pub mod groups;
pub mod topics;

pub use topics::Topic;
