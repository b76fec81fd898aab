//! What travels over the local socket: a `u32` length and one JSON value. JSON, because both ends may be different
//! builds of Sotto, and what one does not know must be an error and not another value.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use zeroize::Zeroizing;

use super::{events::State, request::Outcome};
use crate::api::{ClientError, Command, Event};

/// Raised when the values change in a way that an older build would misread.
pub(super) const VERSION: u16 = 3;
/// Bytes of a request: the longest text, with every character escaped.
pub(super) const MAX_REQUEST: usize = 1024 * 1024;
/// Bytes of an answer: a thousand of the longest rows as they usually are.
pub(super) const MAX_ANSWER: usize = 64 * 1024 * 1024;
/// Requests of one face without an answer.
pub(super) const OPEN_REQUESTS: usize = 64;

/// Bytes that every value with a password in it fits into: so its buffer does not grow and leave a copy behind.
const SECRETS: usize = 8 * 1024;

/// From a face.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum ToOwner {
    /// First of all.
    Hello {
        /// What the face speaks.
        version: u16,
        /// The face needs no connection.
        offline: bool,
        /// A person sits in front of it.
        interactive: bool,
    },
    /// A command; its number comes back with the answer.
    Command(u64, Command),
}

/// To a face.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum ToFace {
    /// To Hello, with the state as it is.
    Hello(State),
    /// The state changed.
    State(State),
    /// Something happened.
    Event(Event),
    /// Events were dropped.
    Lagged,
    /// To a command.
    Answer(u64, Outcome),
    /// The owner will not serve this face; it closes.
    Refused(ClientError),
}

/// Sends one value. One that is too long is an `InvalidInput` error, and nothing was written.
pub(super) async fn send<T: Serialize>(
    to: &mut (impl AsyncWrite + Unpin),
    value: &T,
    limit: usize,
) -> io::Result<()> {
    // A password may be in it.
    let mut body = Zeroizing::new(Vec::with_capacity(SECRETS));
    serde_json::to_writer(&mut *body, value).map_err(io::Error::other)?;
    let length = u32::try_from(body.len()).ok().filter(|_| body.len() <= limit);
    let length = length.ok_or(io::ErrorKind::InvalidInput)?;
    to.write_all(&length.to_be_bytes()).await?;
    to.write_all(&body).await?;
    to.flush().await
}

/// Reads one value; `None` at the end. The buffer grows only as bytes arrive.
pub(super) async fn receive<T: DeserializeOwned>(
    from: &mut (impl AsyncRead + Unpin),
    limit: usize,
) -> io::Result<Option<T>> {
    let mut length = [0; 4];
    match from.read_exact(&mut length).await {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        result => result?,
    };
    let length = u32::from_be_bytes(length);
    if usize::try_from(length).map_or(true, |length| length > limit) {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut body = Zeroizing::new(Vec::with_capacity(SECRETS));
    let read = from.take(u64::from(length)).read_to_end(&mut body).await?;
    if u32::try_from(read) != Ok(length) {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    serde_json::from_slice(&body).map(Some).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// The socket of a profile, by a path that is short whatever the folder's is: a socket's address holds 108 bytes, and
/// the kernel follows a link to an open folder. The folder has to stay open while the path is used.
pub(super) fn socket_path(dir: &Path) -> io::Result<(File, PathBuf)> {
    const NAME: &str = "socket";
    let folder = File::open(dir)?;
    #[cfg(target_os = "linux")]
    let path = {
        use std::os::fd::AsRawFd;
        PathBuf::from(format!("/proc/self/fd/{}/{NAME}", folder.as_raw_fd()))
    };
    #[cfg(not(target_os = "linux"))]
    let path = dir.join(NAME);
    Ok((folder, path))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::api::{ErrorKind, Recipient, Reply};

    #[tokio::test]
    async fn values_arrive_and_bad_ones_are_errors() {
        let (mut a, mut b) = tokio::io::duplex(1 << 20);
        let text = "\u{1}\"é".repeat(10);
        let command = Command::Send { to: Recipient::Me, text: text.clone() };
        send(&mut a, &ToOwner::Command(7, command.clone()), MAX_REQUEST).await.unwrap();
        let received = receive::<ToOwner>(&mut b, MAX_REQUEST).await.unwrap();
        assert!(matches!(received, Some(ToOwner::Command(7, got)) if got == command));

        for outcome in
            [Ok(Reply::Done), Err(ClientError::new(ErrorKind::NotFound, "no").hint("h").cause("c"))]
        {
            send(&mut a, &ToFace::Answer(1, outcome.clone()), MAX_ANSWER).await.unwrap();
            let received = receive::<ToFace>(&mut b, MAX_ANSWER).await.unwrap();
            assert!(matches!(received, Some(ToFace::Answer(1, got)) if got == outcome));
        }

        let error = send(&mut a, &"x".repeat(100), 50).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        a.write_all(&51u32.to_be_bytes()).await.unwrap();
        let error = receive::<ToOwner>(&mut b, 50).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }

    #[tokio::test]
    async fn the_end_is_told_from_a_cut() {
        for (bytes, whole) in
            [(&b""[..], true), (&[0, 0, 0, 9, b'"'][..], false), (&b"\0\0\0\x01x"[..], false)]
        {
            let (mut a, mut b) = tokio::io::duplex(64);
            a.write_all(bytes).await.unwrap();
            drop(a);
            let received = receive::<ToOwner>(&mut b, 64).await;
            assert_eq!(matches!(received, Ok(None)), whole, "{bytes:?}");
            assert_eq!(received.is_err(), !whole, "{bytes:?}");
        }
    }
}
