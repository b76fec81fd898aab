//! What goes into the core and what comes out of it.

use sotto_proto::frame::{ClientFrame, RawFrame};

use super::account::WithKey;
use crate::api::{ClientError, Command, Event, Reply};

/// Pairs an answer with its command; made by the driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CommandId(pub u64);

/// What happened.
#[derive(Debug)]
pub enum Input {
    /// A TLS session with the server stands; nothing was sent yet.
    Connected {
        /// DER SubjectPublicKeyInfo of the certificate the server showed.
        spki: Vec<u8>,
        /// 32 bytes of TLS exporter under [`sotto_proto::login::EXPORTER_LABEL`], no context.
        exporter: [u8; 32],
    },
    /// A whole frame from the server.
    Frame(RawFrame),
    /// The connection is gone.
    Disconnected,
    /// A face asks.
    Command(CommandId, Command),
    /// A face asks for what needs the account's password; the key of it was computed meanwhile.
    WithKey(CommandId, WithKey),
    /// Whether a person sits at any of the faces, from now on.
    Interactive(bool),
    /// The time that [`Output::WakeAt`] named has come, or any time at all.
    Tick,
}

/// What is to be done, in this order, after the transaction has been committed.
#[derive(Debug)]
pub enum Output {
    /// Send this frame.
    Send {
        /// The request id; 0 is never used.
        request: u32,
        /// The frame.
        frame: ClientFrame,
    },
    /// Answer a command.
    Reply(CommandId, Result<Reply, ClientError>),
    /// Tell every face.
    Event(Event),
    /// The server has taken the password of [`WithKey::Prove`]; the command goes on with [`WithKey::Password`].
    PasswordProven(CommandId),
    /// A change of the password is settled: the store's key stays wrapped under the new one only, or the old one only.
    PasswordSettled {
        /// Whether the new one counts.
        changed: bool,
    },
    /// Close the connection. With `reconnect`, try again after a while; without, stay offline until told otherwise.
    Close {
        /// Why.
        error: ClientError,
        /// Whether trying again can help.
        reconnect: bool,
    },
    /// Call with [`Input::Tick`] at this time at the latest, Unix milliseconds. The newest one counts.
    WakeAt(u64),
}
