//! The owner's side of the local socket: each face that connects is served by a task of its own, through the same
//! requests that a face in this process makes.

use std::{
    fs::Permissions,
    io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::{
    net::{
        UnixListener, UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{broadcast, mpsc, oneshot, watch},
    task::JoinSet,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::{
    events::{Notice, State},
    local::{self, MAX_ANSWER, MAX_REQUEST, OPEN_REQUESTS, ToFace, ToOwner, VERSION},
    profile::file_error,
    request::{Answer, Outcome, Request},
};
use crate::api::{ClientError, ErrorKind};

/// Faces at a time: far above what one person starts, below what a runaway script can.
const FACES: usize = 64;
/// For a face to say hello, or to take what it is sent.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long the owner, when it ends, goes on for faces that are there: two commands that a script starts side by side
/// end well, whichever came first, and somebody who only listens does not hold the owner up for long.
const LINGER: Duration = Duration::from_secs(2);
/// For answers to commands that are under way when a face hangs up, or the owner gives it up.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// Listens. What lies there is stale, for this process has the profile's lock.
pub(super) fn bind(dir: &Path) -> Result<UnixListener, ClientError> {
    let bind = || -> io::Result<UnixListener> {
        let (_folder, path) = local::socket_path(dir)?;
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&path)?;
        std::fs::set_permissions(&path, Permissions::from_mode(0o600))?;
        Ok(listener)
    };
    bind().map_err(|error| file_error("listen in", dir, &error))
}

/// Serves faces until it is stopped.
pub(super) struct Server {
    pub(super) dir: PathBuf,
    pub(super) requests: mpsc::Sender<Request>,
    pub(super) events: broadcast::WeakSender<Notice>,
    pub(super) state: watch::Receiver<State>,
    pub(super) people: watch::Sender<usize>,
    pub(super) stop: CancellationToken,
}

impl Server {
    /// Returns when no face is served any more.
    pub(super) async fn run(self, listener: UnixListener) {
        let mut faces = JoinSet::new();
        let give_up = CancellationToken::new();
        loop {
            tokio::select! {
                () = self.stop.cancelled() => break,
                Some(_) = faces.join_next() => {}
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) if is_own(&stream) => {
                        let full = faces.len() >= FACES;
                        faces.spawn(self.face(stream, full, give_up.clone()));
                    }
                    Ok(_) => tracing::warn!("another user reached for the local socket"),
                    Err(error) => {
                        // Out of file descriptors: others have to close theirs first.
                        tracing::warn!(%error, "local socket");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                },
            }
        }
        drop(listener);
        if let Ok((_folder, path)) = local::socket_path(&self.dir) {
            // A stale file does no harm.
            let _ = std::fs::remove_file(path);
        }
        if !all_gone(&mut faces, LINGER).await {
            give_up.cancel();
            all_gone(&mut faces, LAST_ANSWERS).await;
            // What is left says no hello, or takes nothing.
            faces.shutdown().await;
        }
    }

    fn face(
        &self,
        stream: UnixStream,
        full: bool,
        give_up: CancellationToken,
    ) -> impl Future<Output = ()> + 'static {
        let requests = self.requests.clone();
        let (events, state) = (self.events.upgrade().map(|events| events.subscribe()), self.state.clone());
        let people = self.people.clone();
        async move {
            let Some(events) = events else { return };
            let (mut reading, mut writing) = stream.into_split();
            if full {
                let error = ClientError::new(ErrorKind::Limit, "too many programs use this profile at once");
                say(&mut writing, &ToFace::Refused(error)).await;
                return;
            }
            let Some(_person) = hello(&mut reading, &mut writing, &requests, &state, &people).await else {
                return;
            };
            let (answers, answers_out) = mpsc::channel(OPEN_REQUESTS);
            let hung_up = CancellationToken::new();
            // A face that takes nothing any more is gone, whether it has hung up or not: so is the person in front of it.
            let deaf = CancellationToken::new();
            let speak = async {
                speak(writing, answers_out, events, state, hung_up.clone()).await;
                deaf.cancel();
            };
            let listen = async {
                tokio::select! {
                    () = listen(reading, requests, answers) => {}
                    () = give_up.cancelled() => {}
                    () = deaf.cancelled() => {}
                }
                hung_up.cancel();
            };
            tokio::join!(listen, speak);
        }
    }
}

/// Whether all faces end within a time.
async fn all_gone(faces: &mut JoinSet<()>, within: Duration) -> bool {
    timeout(within, async { while faces.join_next().await.is_some() {} }).await.is_ok()
}

/// A face while it is there; one with a person in front of it is counted.
struct Person {
    people: watch::Sender<usize>,
    counted: bool,
}

impl Person {
    fn count(people: &watch::Sender<usize>, interactive: bool) -> Self {
        if interactive {
            people.send_modify(|count| *count += 1);
        }
        Self { people: people.clone(), counted: interactive }
    }
}

impl Drop for Person {
    fn drop(&mut self) {
        if self.counted {
            self.people.send_modify(|count| *count = count.saturating_sub(1));
        }
    }
}

/// Whether the peer is of the same user; the folder's rights say so already.
fn is_own(stream: &UnixStream) -> bool {
    stream.peer_cred().is_ok_and(|peer| peer.uid() == rustix::process::geteuid().as_raw())
}

async fn say(to: &mut OwnedWriteHalf, message: &ToFace) -> bool {
    matches!(timeout(PATIENCE, local::send(to, message, MAX_ANSWER)).await, Ok(Ok(())))
}

async fn hello(
    from: &mut OwnedReadHalf,
    to: &mut OwnedWriteHalf,
    requests: &mpsc::Sender<Request>,
    state: &watch::Receiver<State>,
    people: &watch::Sender<usize>,
) -> Option<Person> {
    match timeout(PATIENCE, local::receive::<ToOwner>(from, MAX_REQUEST)).await {
        Ok(Ok(Some(ToOwner::Hello { version: VERSION, offline, interactive }))) => {
            // Counted before the connection is asked for, so that the login says so.
            let person = Person::count(people, interactive);
            if !offline {
                let (answer, tried) = oneshot::channel();
                if requests.send(Request::Connect(answer)).await.is_err() || tried.await.is_err() {
                    return None;
                }
            }
            let now = state.borrow().clone();
            say(to, &ToFace::Hello(now)).await.then_some(person)
        }
        Ok(Ok(Some(_)) | Err(_)) => {
            let error = ClientError::new(ErrorKind::Version, "another version of sotto owns this profile")
                .hint("end that program, and run the command again");
            say(to, &ToFace::Refused(error)).await;
            None
        }
        Ok(Ok(None)) | Err(_) => None,
    }
}

/// Takes commands, no more than the answers have room for: a place is taken for each answer before the command is.
async fn listen(
    mut from: OwnedReadHalf,
    requests: mpsc::Sender<Request>,
    answers: mpsc::Sender<(u64, Outcome)>,
) {
    while let Ok(Some(ToOwner::Command(number, command))) = local::receive(&mut from, MAX_REQUEST).await {
        let Ok(place) = answers.clone().reserve_owned().await else { return };
        let answer = Answer::Socket(number, place);
        if requests.send(Request::Command(command, answer)).await.is_err() {
            return;
        }
    }
}

/// Sends answers, events and states until the face hangs up and every command under way is answered.
async fn speak(
    mut to: OwnedWriteHalf,
    mut answers: mpsc::Receiver<(u64, Outcome)>,
    mut events: broadcast::Receiver<Notice>,
    mut state: watch::Receiver<State>,
    hung_up: CancellationToken,
) {
    loop {
        let message = tokio::select! {
            biased;
            Some((number, outcome)) = answers.recv() => ToFace::Answer(number, outcome),
            event = events.recv() => match event {
                Ok(Notice::Event(event)) => ToFace::Event(event),
                Ok(Notice::Lagged) | Err(broadcast::error::RecvError::Lagged(_)) => ToFace::Lagged,
                Err(broadcast::error::RecvError::Closed) => return,
            },
            changed = state.changed() => match changed {
                Ok(()) => ToFace::State(state.borrow_and_update().clone()),
                Err(_) => return,
            },
            () = hung_up.cancelled() => break,
        };
        if !deliver(&mut to, message).await {
            return;
        }
    }
    // The senders of answers are dropped with the last command under way.
    while let Ok(Some((number, outcome))) = timeout(LAST_ANSWERS, answers.recv()).await {
        if !deliver(&mut to, ToFace::Answer(number, outcome)).await {
            return;
        }
    }
}

async fn deliver(to: &mut OwnedWriteHalf, message: ToFace) -> bool {
    match timeout(PATIENCE, local::send(to, &message, MAX_ANSWER)).await {
        Ok(Ok(())) => true,
        Ok(Err(error)) if error.kind() == io::ErrorKind::InvalidInput => {
            let ToFace::Answer(number, _) = message else { return false };
            let error = ClientError::new(ErrorKind::Limit, "the answer is too large; ask for less at once");
            say(to, &ToFace::Answer(number, Err(error))).await
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::net::Shutdown;

    use super::*;
    use crate::api::Event;

    /// What the server's channels lead to.
    struct Behind {
        events: broadcast::Sender<Notice>,
        counted: watch::Receiver<usize>,
        _open: (mpsc::Receiver<Request>, watch::Sender<State>),
    }

    fn server(dir: &Path) -> (Server, Behind) {
        let (requests, requests_out) = mpsc::channel(1);
        let (events, _) = broadcast::channel(4);
        let (state_in, state) = watch::channel(State::new());
        let (people, counted) = watch::channel(0);
        let (dir, stop) = (dir.to_owned(), CancellationToken::new());
        let server = Server { dir, requests, events: events.downgrade(), state, people, stop };
        (server, Behind { events, counted, _open: (requests_out, state_in) })
    }

    /// A face with a person, who has been greeted.
    async fn greeted(stream: UnixStream) -> (OwnedReadHalf, OwnedWriteHalf) {
        let (mut reading, mut writing) = stream.into_split();
        let hello = ToOwner::Hello { version: VERSION, offline: true, interactive: true };
        local::send(&mut writing, &hello, MAX_REQUEST).await.unwrap();
        assert!(matches!(local::receive(&mut reading, MAX_ANSWER).await, Ok(Some(ToFace::Hello(_)))));
        (reading, writing)
    }

    #[tokio::test(start_paused = true)]
    async fn faces_that_say_or_take_nothing_do_not_hold_up_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let (server, behind) = server(dir.path());
        let stop = server.stop.clone();
        let ended = tokio::spawn(server.run(bind(dir.path()).unwrap()));
        let (_folder, path) = local::socket_path(dir.path()).unwrap();
        let _silent = UnixStream::connect(&path).await.unwrap();
        // Who comes later and has been greeted shows that the first one was let in.
        let _deaf = greeted(UnixStream::connect(&path).await.unwrap()).await;
        let more_than_a_socket_holds = Event::Warning("x".repeat(1 << 22));
        behind.events.send(Notice::Event(more_than_a_socket_holds)).unwrap();
        stop.cancel();
        let begun = tokio::time::Instant::now();
        ended.await.unwrap();
        assert!(begun.elapsed() < 2 * LINGER, "{:?}", begun.elapsed());
    }

    #[tokio::test]
    async fn a_face_that_reads_no_more_is_no_person_any_more() {
        let (server, mut behind) = server(Path::new(""));
        let (ours, theirs) = UnixStream::pair().unwrap();
        let face = tokio::spawn(server.face(ours, false, CancellationToken::new()));
        let (reading, writing) = greeted(theirs).await;
        assert_eq!(*behind.counted.borrow_and_update(), 1);

        // It does not hang up: it could still ask.
        let deaf = reading.reunite(writing).unwrap().into_std().unwrap();
        deaf.shutdown(Shutdown::Read).unwrap();
        behind.events.send(Notice::Event(Event::Warning("nobody hears this".to_owned()))).unwrap();
        timeout(Duration::from_secs(60), behind.counted.changed()).await.unwrap().unwrap();
        assert_eq!(*behind.counted.borrow(), 0);
        face.await.unwrap();
        drop(deaf);
    }
}
