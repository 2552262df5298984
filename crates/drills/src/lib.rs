#![doc = include_str!("../README.md")]

pub mod arena;
pub mod dice;
pub mod fate;
pub mod member;
pub mod notes;
pub mod parcel;
pub mod storm;
