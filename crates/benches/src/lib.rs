#![doc = include_str!("../README.md")]

pub mod http_client;
pub mod machine;
pub mod report;
pub mod rounds;
pub mod statistics;
pub mod suite;
