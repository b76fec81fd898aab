//! A face's side of the local socket: it looks like a client, and another process is one.

use std::{collections::HashMap, io, path::Path, time::Duration};

use tokio::{
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::mpsc,
    time::timeout,
};

use super::{
    client::ClientOptions,
    events::{Notice, State},
    local::{self, MAX_ANSWER, MAX_REQUEST, OPEN_REQUESTS, ToFace, ToOwner, VERSION},
    request::{Answer, Request},
    run::Faces,
};
use crate::api::{ClientError, Connection, ErrorKind};

/// For the owner to answer: it may be committing a large batch.
const PATIENCE: Duration = Duration::from_secs(3);

/// A socket on which the owner has said hello.
#[derive(Debug)]
pub(super) struct Attached {
    pub(super) state: State,
    reading: OwnedReadHalf,
    writing: OwnedWriteHalf,
}

/// Reaches for the owner; `None` where there is none, or none that answers.
pub(super) async fn connect(dir: &Path, options: ClientOptions) -> Result<Option<Attached>, ClientError> {
    let hello =
        ToOwner::Hello { version: VERSION, offline: options.offline, interactive: options.interactive };
    let reach = async {
        let stream = {
            let (_folder, path) = local::socket_path(dir)?;
            UnixStream::connect(path).await?
        };
        let (mut reading, mut writing) = stream.into_split();
        local::send(&mut writing, &hello, MAX_REQUEST).await?;
        let answer = local::receive::<ToFace>(&mut reading, MAX_ANSWER).await?;
        io::Result::Ok((answer, reading, writing))
    };
    match timeout(PATIENCE, reach).await {
        Ok(Ok((Some(ToFace::Hello(state)), reading, writing))) => {
            Ok(Some(Attached { state, reading, writing }))
        }
        Ok(Ok((Some(ToFace::Refused(error)), ..))) => Err(error),
        Ok(Err(error)) if error.kind() == io::ErrorKind::InvalidData => {
            Err(ClientError::new(ErrorKind::Version, "another version of sotto owns this profile")
                .hint("end that program, and run the command again"))
        }
        _ => Ok(None),
    }
}

/// Carries commands to the owner and everything else back, until either side ends.
pub(super) async fn run(attached: Attached, mut faces: Faces) {
    let Attached { mut reading, mut writing, .. } = attached;
    let (messages_in, mut messages) = mpsc::channel(OPEN_REQUESTS);
    let read = async move {
        while let Ok(Some(message)) = local::receive::<ToFace>(&mut reading, MAX_ANSWER).await {
            if messages_in.send(message).await.is_err() {
                return;
            }
        }
    };
    let mut open = HashMap::new();
    let mut last = 0;
    let carry = async {
        loop {
            tokio::select! {
                () = faces.stop.cancelled() => {
                    return ClientError::new(ErrorKind::Interrupted, "the client was closed");
                }
                message = messages.recv() => match message {
                    Some(ToFace::Refused(error)) => return error,
                    Some(message) => take(message, &faces, &mut open),
                    None => return owner_ended(),
                },
                Some(request) = faces.requests.recv(), if open.len() < OPEN_REQUESTS => match request {
                    Request::Command(command, answer) => {
                        last += 1;
                        open.insert(last, answer);
                        let command = ToOwner::Command(last, command);
                        match local::send(&mut writing, &command, MAX_REQUEST).await {
                            Ok(()) => {}
                            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                                let error = ClientError::new(ErrorKind::Invalid, "the command is too long");
                                refuse(&mut open, last, error);
                            }
                            Err(_) => return owner_ended(),
                        }
                    }
                    // The owner was asked at hello.
                    Request::Connect(answer) => drop(answer.send(())),
                },
            }
        }
    };
    let reader = tokio::spawn(read);
    let error = carry.await;
    reader.abort();
    // It was told to end; how it ended says nothing.
    let _ = reader.await;
    for (_, answer) in open.drain() {
        answer.give(Err(error.clone()));
    }
    faces.state.send_modify(|state| {
        state.connection = Connection::Offline { error: error.clone(), retry_in_ms: None };
        state.drained = false;
        state.ended = Some(error);
    });
}

fn take(message: ToFace, faces: &Faces, open: &mut HashMap<u64, Answer>) {
    match message {
        ToFace::Hello(state) | ToFace::State(state) => drop(faces.state.send_replace(state)),
        // Nobody listens if this fails.
        ToFace::Event(event) => drop(faces.events.send(Notice::Event(event))),
        ToFace::Lagged => drop(faces.events.send(Notice::Lagged)),
        ToFace::Answer(number, outcome) => {
            if let Some(answer) = open.remove(&number) {
                answer.give(outcome);
            }
        }
        ToFace::Refused(_) => {}
    }
}

fn refuse(open: &mut HashMap<u64, Answer>, number: u64, error: ClientError) {
    if let Some(answer) = open.remove(&number) {
        answer.give(Err(error));
    }
}

fn owner_ended() -> ClientError {
    ClientError::new(ErrorKind::ProfileInUse, "the program that owned the profile ended")
        .hint("run the command again")
}
