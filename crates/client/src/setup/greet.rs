//! First contact on behalf of a name: before anybody types a password for it.

use std::sync::Arc;

use sotto_proto::{
    Address,
    frame::{ClientFrame, ErrorCode, Register},
};

use super::{
    Questions, parse_name,
    session::{Failed, Session, unexpected},
};
use crate::api::ClientError;

/// What the server says to a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Greeting {
    /// The server's address with the fingerprint that was seen and, if need be, accepted: with it nothing is asked again.
    pub server: Address,
    /// Whether the name belongs to somebody. An answer is no promise: only a registration decides.
    pub known: bool,
}

/// Connects, lets a person accept the server's key if that is needed, and asks whether the name belongs to somebody.
pub async fn greet(
    server: &Address,
    username: &str,
    questions: Arc<dyn Questions>,
) -> Result<Greeting, ClientError> {
    let username = parse_name(username)?;
    let mut session = Session::open(server, None, &questions).await?;
    // Without a device list nothing is registered.
    let ask = Register::question(username.to_string());
    let answer = session.ask(&ClientFrame::Register(ask)).await;
    let server = session.full_address();
    session.close().await;
    let known = match answer {
        Ok(other) => return Err(unexpected(&other)),
        Err(failed) => match failed.code() {
            // Where too many asked, the password decides.
            Some(ErrorCode::NAME_TAKEN | ErrorCode::RATE_LIMITED) => true,
            Some(ErrorCode::BAD_KEYS | ErrorCode::REGISTRATION_CLOSED) => false,
            _ => return Err(Failed::into(failed)),
        },
    };
    Ok(Greeting { server, known })
}
