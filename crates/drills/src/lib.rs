#![doc = include_str!("../README.md")]

pub mod arena;
pub mod dice;
pub mod fate;
pub mod lease_storm;
pub mod leases;
pub mod member;
pub mod notes;
pub mod parcel;
mod process;
pub mod schedules;
mod sections;
pub mod storm;
