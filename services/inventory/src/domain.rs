//! The rules of products and stock: pure, with time and ids as arguments.
//!
//! [`book`] is where a batch of order events meets the stock it wants; the other files are the words it uses.
//! Nothing here reads, writes, logs or is serialised.

pub(crate) mod book;
pub(crate) mod command;
pub(crate) mod product;
pub(crate) mod quantity;
pub(crate) mod refusal;
pub(crate) mod reservation;
pub(crate) mod sku;
pub(crate) mod stock;

pub(crate) use book::{Book, Decision, StockMove};
pub(crate) use command::{CancelReason, Command, Lines};
pub(crate) use product::{Currency, Price, Product, ProductChange, ProductName, ProductTerms};
pub(crate) use quantity::{Quantity, StockChange};
pub(crate) use refusal::{AdjustStockRefusal, BadValue, NotApplicable, PutProductRefusal};
pub(crate) use reservation::{Reservation, ReservationStatus, Shortage, ShortageReason};
pub(crate) use sku::Sku;
pub(crate) use stock::Stock;
