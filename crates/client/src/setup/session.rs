//! A connection before there is a device to sign in: first contact, the opening, and single requests.

use std::{net::IpAddr, sync::Arc, time::Duration};

use sotto_proto::{
    Address, KeyChain, VersionRange,
    chain::ChainError,
    frame::{Approved, ClientFrame, ErrorCode, ErrorReply, Hello, PUSH, ServerFrame, Welcome},
};
use tokio::time::timeout;

use super::{Questions, ServerIdentity};
use crate::{
    api::{ClientError, ErrorKind},
    core::check_chain,
    driver::{Connection, off_thread, server_error},
    store::ServerPin,
};

/// For an answer: Argon2 on a server with a long line takes seconds.
const ANSWER: Duration = Duration::from_secs(30);

/// Why a request came to nothing.
#[derive(Debug)]
pub(super) enum Failed {
    /// The server said no.
    Refused(ErrorReply),
    /// No answer: it may have happened.
    Unknown(ClientError),
}

impl Failed {
    pub(super) fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Refused(reply) => Some(reply.code),
            Self::Unknown(_) => None,
        }
    }
}

impl From<ClientError> for Failed {
    fn from(error: ClientError) -> Self {
        Self::Unknown(error)
    }
}

impl From<Failed> for ClientError {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::Refused(reply) => server_error(&reply),
            Failed::Unknown(error) => error,
        }
    }
}

/// A connection with a server whose key is pinned and which has been greeted.
pub(super) struct Session {
    line: Line,
    pub(super) pin: ServerPin,
    pub(super) welcome: Welcome,
}

impl Session {
    /// Connects, and finds out who answers. `known` is the pin of an unfinished attempt: at its address nobody else is
    /// spoken to, whatever the address says or a person might.
    pub(super) async fn open(
        server: &Address,
        known: Option<&ServerPin>,
        questions: &Arc<dyn Questions>,
    ) -> Result<Self, ClientError> {
        let (mut line, mut chain) = contact(server).await?;
        let follows = match known.map(|pin| (pin, check_chain(&chain, &line.connection.spki, pin))) {
            Some((pin, Err(error))) if is_same_place(server, &pin.address) => return Err(error),
            Some((_, checked)) => checked.is_ok(),
            None => false,
        };
        if server.fingerprint.is_none() && !follows {
            let identity = identity(server, &chain);
            if is_loopback(&server.host) {
                questions.pinned(&identity);
            } else {
                // A server does not wait for a person; the second connection must show what the person saw.
                line.connection.close([]).await;
                trust(questions, identity.clone()).await?;
                (line, chain) = contact(&identity.full).await?;
            }
        }
        let hello = Hello {
            versions: VersionRange::OURS,
            software: concat!("sotto ", env!("CARGO_PKG_VERSION")).to_owned(),
        };
        match line.ask(&ClientFrame::Hello(hello)).await? {
            ServerFrame::Welcome(welcome) => Ok(Self { line, pin: pin(server, &chain), welcome }),
            other => Err(unexpected(&other)),
        }
    }

    /// Asks, and waits for the answer.
    pub(super) async fn ask(&mut self, frame: &ClientFrame) -> Result<ServerFrame, Failed> {
        self.line.ask(frame).await
    }

    /// Waits for word that the device which waits on this connection was added. The connection keeps itself alive, and ends
    /// when the server is silent.
    pub(super) async fn approved(&mut self) -> Result<Approved, Failed> {
        self.line.approved().await
    }

    /// 32 bytes exported from the TLS session, for login signatures.
    pub(super) fn exporter(&self) -> &[u8; 32] {
        &self.line.connection.exporter
    }

    /// The address that pins what was seen.
    pub(super) fn full_address(&self) -> Address {
        Address { fingerprint: Some(self.pin.newest), ..self.pin.address.clone() }
    }

    /// A time that both sides can live with: the server refuses lists from its future, and a server with a wrong clock
    /// must not push the numbers of an account's lists ahead.
    pub(super) fn sound_time_ms(&self, own_ms: u64) -> u64 {
        own_ms.min(self.welcome.now_ms)
    }

    pub(super) async fn close(self) {
        self.line.connection.close([]).await;
    }
}

/// Requests, one at a time.
struct Line {
    connection: Connection,
    requests: u32,
    /// Came before it was waited for.
    approved: Option<Approved>,
}

impl Line {
    async fn ask(&mut self, frame: &ClientFrame) -> Result<ServerFrame, Failed> {
        self.requests = self.requests.saturating_add(1);
        self.connection.send(self.requests, frame).await.map_err(Failed::Unknown)?;
        loop {
            let (request, frame) = self.next().await.map_err(Failed::Unknown)?;
            match frame {
                // An error outside of any request ends the connection: too many clients, no version in common.
                ServerFrame::Error(reply) if request == self.requests || request == PUSH => {
                    return Err(Failed::Refused(reply));
                }
                frame if request == self.requests => return Ok(frame),
                ServerFrame::Approved(approved) if request == PUSH => self.approved = Some(approved),
                ServerFrame::Stopping => {
                    return Err(Failed::Unknown(ClientError::new(
                        ErrorKind::Unreachable,
                        "the server is stopping",
                    )));
                }
                _ => {}
            }
        }
    }

    async fn approved(&mut self) -> Result<Approved, Failed> {
        if let Some(approved) = self.approved.take() {
            return Ok(approved);
        }
        loop {
            let raw = self.connection.next().await.map_err(|end| Failed::Unknown(end.into()))?;
            match ServerFrame::decode(raw.kind, &raw.payload) {
                Ok(Some(ServerFrame::Approved(approved))) if raw.request == PUSH => return Ok(approved),
                Ok(Some(ServerFrame::Error(reply))) if raw.request == PUSH => {
                    return Err(Failed::Refused(reply));
                }
                // A newer server may push what this program does not know.
                Ok(_) => {}
                Err(error) => return Err(Failed::Unknown(newer(error))),
            }
        }
    }

    async fn next(&mut self) -> Result<(u32, ServerFrame), ClientError> {
        let late = |_| ClientError::new(ErrorKind::Unreachable, "the server does not answer in time");
        let raw = timeout(ANSWER, self.connection.next()).await.map_err(late)??;
        match ServerFrame::decode(raw.kind, &raw.payload) {
            Ok(Some(frame)) => Ok((raw.request, frame)),
            Ok(None) => Err(newer("a frame of an unknown kind")),
            Err(error) => Err(newer(error)),
        }
    }
}

/// Connects; the server's chain leads to the key of the session, and holds the address's fingerprint if that has one.
async fn contact(server: &Address) -> Result<(Line, KeyChain), ClientError> {
    let mut line = Line { connection: Connection::open(server).await?, requests: 0, approved: None };
    let chain = match line.next().await? {
        (_, ServerFrame::Chain(chain)) => chain,
        (_, ServerFrame::Error(reply)) => return Err(server_error(&reply)),
        (_, other) => return Err(unexpected(&other)),
    };
    chain.verify(&line.connection.spki).map_err(|error: ChainError| {
        ClientError::new(ErrorKind::IdentityChanged, "the server did not prove who it is").cause(error)
    })?;
    match &server.fingerprint {
        Some(fingerprint) if chain.position(fingerprint).is_none() => Err(ClientError::new(
            ErrorKind::IdentityChanged,
            "the server's key is not the one in the address; nothing was sent",
        )
        .cause(format!("it shows {}", identity(server, &chain).full))
        .hint("ask the server's operator over another way for its sotto:// address")),
        _ => Ok((line, chain)),
    }
}

fn identity(server: &Address, chain: &KeyChain) -> ServerIdentity {
    let (fingerprint, _) = chain.newest();
    let full = Address { fingerprint: Some(fingerprint), ..server.clone() };
    ServerIdentity { address: server.clone(), fingerprint, full }
}

fn pin(server: &Address, chain: &KeyChain) -> ServerPin {
    let (newest, number) = chain.newest();
    let address = Address { fingerprint: None, ..server.clone() };
    ServerPin { address, server_id: chain.server_id(), newest, number }
}

async fn trust(questions: &Arc<dyn Questions>, identity: ServerIdentity) -> Result<(), ClientError> {
    let questions = questions.clone();
    let refused =
        ClientError::new(ErrorKind::LoginNeeded, "the server's key was not accepted; nothing was sent")
            .hint("give the server's whole sotto:// address");
    if off_thread(move || questions.trust(&identity)).await? { Ok(()) } else { Err(refused) }
}

/// Whether a host is this machine without asking anybody.
fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

/// Whether two addresses stand for one server, by what they say.
fn is_same_place(one: &Address, other: &Address) -> bool {
    let host = one.host.eq_ignore_ascii_case(&other.host);
    one.port == other.port && (host || (is_loopback(&one.host) && is_loopback(&other.host)))
}

pub(super) fn unexpected(frame: &ServerFrame) -> ClientError {
    newer(format!("an unexpected {}", frame.name()))
}

fn newer(cause: impl std::fmt::Display) -> ClientError {
    ClientError::new(ErrorKind::Version, "the server answered what this program does not understand")
        .cause(cause)
        .hint("update sotto, or ask the server's operator to")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn one_server_may_be_called_differently_on_this_machine_only() {
        let address = |text: &str| text.parse::<Address>().unwrap();
        let same = |one: &str, other: &str| is_same_place(&address(one), &address(other));
        assert!(same("localhost:7777", "127.0.0.1:7777"));
        assert!(same("chat.example:7777", "Chat.Example:7777"));
        assert!(!same("localhost:7777", "localhost:7778"));
        assert!(!same("localhost:7777", "chat.example:7777"));
        assert!(!same("chat.example:7777", "other.example:7777"));
    }

    #[test]
    fn only_this_machine_is_loopback() {
        for host in ["localhost", "127.0.0.1", "127.8.9.1", "::1"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["localhost.example", "128.0.0.1", "::2", "example", "127.0.0.1.example"] {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
