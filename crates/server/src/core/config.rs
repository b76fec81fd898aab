//! The limits that the operator may change, as the core sees them.

use sotto_proto::{frame::Registration, limits};

/// Whom an account sees in the directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Directory {
    /// Everybody.
    Open,
    /// Those with whom it shares a conversation.
    Closed,
}

/// What the core goes by; the defaults are those of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CoreConfig {
    /// Connections at a time. The default is far above a team's size and below what one machine's memory bears.
    pub max_clients: usize,
    /// Who may make an account.
    pub registration: Registration,
    /// Who sees whom.
    pub directory: Directory,
    /// Passwords that wait to be hashed or checked; beyond this a login is told to come again. A line of 512 takes
    /// two cores some ten seconds.
    pub hashing_line: usize,
    /// How long an envelope waits for its recipient, milliseconds; told to the clients.
    pub retention_ms: u64,
    /// Envelopes in one mailbox: one sender's share is a part of it.
    pub mailbox_envelopes: u64,
    /// Accounts one address may register at once, and then one every two seconds: a class behind one router passes.
    pub register_burst: u64,
    /// One-time keys one account may claim at once, and then one a second: a first message to many contacts passes,
    /// and emptying many devices' hundred keys takes a stranger minutes, in which their owners' clients refill.
    pub claim_burst: u64,
}

impl Default for CoreConfig {
    fn default() -> Self {
        Self {
            max_clients: 10_000,
            registration: Registration::Open,
            directory: Directory::Open,
            hashing_line: 512,
            retention_ms: limits::RETENTION_MS,
            mailbox_envelopes: limits::MAILBOX_ENVELOPES,
            register_burst: 1_000,
            claim_burst: 512,
        }
    }
}
