#![doc = include_str!("../README.md")]

pub mod clock;
pub mod sabotage;
pub mod settings;
pub mod shutdown;
pub mod tasks;

pub use clock::Clock;
pub use shutdown::Shutdown;
pub use tasks::Tasks;
pub use tokio_util::sync::CancellationToken;
