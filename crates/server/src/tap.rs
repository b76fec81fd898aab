//! What stands between the connections and the core.

use std::fmt::Debug;

use sotto_proto::frame::ClientFrame;

use crate::core::ConnectionId;

/// Sees, and may change, everything that passes between the connections and the core. It sees what the operator of a
/// server can see, and can do no more than they: the tests' server that lies is one of these. `sottod` has [`Untapped`].
pub trait Tap: Debug + Send {
    /// A request, before the core sees it.
    fn incoming(&mut self, connection: ConnectionId, request: u32, frame: &mut ClientFrame) {
        let _ = (connection, request, frame);
    }

    /// Whole frames for a connection; answers what it gets.
    fn outgoing(&mut self, connection: ConnectionId, frames: Vec<u8>) -> Vec<u8> {
        let _ = connection;
        frames
    }
}

/// Everything passes as it is.
#[derive(Debug, Clone, Copy)]
pub struct Untapped;

impl Tap for Untapped {}
