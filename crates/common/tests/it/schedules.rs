//! `/schedules` over HTTP: who may, what is refused by which code, and what each change leaves behind.

mod access;
mod audit;
mod bad_input;
mod conflicts;
mod harness;
mod life;
mod openapi;
