//! What brings stored data from the version that wrote it to the version that reads it: numbered steps for the
//! server's store and for the client's, each behind a gate that refuses what a newer program wrote.

#[cfg(feature = "client")]
pub mod client;
#[cfg(feature = "server")]
pub mod server;
