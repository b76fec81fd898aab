//! The client of Sotto: a pure core around a transaction on the local store, and a driver that moves bytes.

pub mod api;
pub mod core;
pub mod driver;
pub mod setup;
pub mod store;
pub mod tls;
