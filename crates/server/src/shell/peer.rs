//! One connection: cutting its bytes into requests, and writing what is sent to it.

use std::{
    net::SocketAddr,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use sotto_proto::{
    frame::{ClientFrame, FrameDecoder, RawFrame},
    limits::{MAX_FRAME, MAX_FRAME_BEFORE_LOGIN, MAX_PIPELINED, PEER_SILENCE_MS},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    runtime::Handle,
    sync::{Semaphore, mpsc},
    task::yield_now,
    time::{Instant, sleep, timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;
use zeroize::Zeroize as _;

use super::{
    budget::{Budget, Share},
    driver::Message,
    lobby::Way,
    pieces::{BEFORE_OTHERS, read_in_turn, read_some, write_in_turn},
};
use crate::core::{ConnectionId, Input, SendClass};

/// How long a frame may take from its first byte to its last: a megabyte over a slow line.
const FRAME_TIMEOUT: Duration = Duration::from_secs(120);
/// How long a peer may take to fetch the last words, and to close after them.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a peer may take to fetch what is due when the core closes its connection: what it does not take must not stay.
const LAST_WORDS_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of one connection's requests without an answer: two of the longest frames.
const IN_FLIGHT: usize = 2 * MAX_FRAME;
/// Kinds of requests that hold an auth key, which is not to stay in memory.
const LOGIN_KINDS: std::ops::RangeInclusive<u16> = 0x0010..=0x0014;
/// Frames written at once.
const WRITE_AT_ONCE: usize = 64;

/// What the driver has for a connection.
#[derive(Debug)]
pub(crate) enum Outgoing {
    /// Whole frames.
    Bytes(Vec<u8>, SendClass),
    /// No more will come.
    Close,
}

/// What the driver and the connection's task share.
#[derive(Debug)]
pub(crate) struct Shared {
    frame_limit: AtomicUsize,
    /// Bytes of requests that have no answer yet.
    requests: Share,
    /// How many more requests may be under way.
    places: Semaphore,
    /// How many more bytes of requests may be under way.
    bytes: Semaphore,
    /// The core has closed it.
    closed: CancellationToken,
}

/// The driver's end of a connection.
#[derive(Debug)]
pub(crate) struct PeerHandle {
    pub(crate) shared: Arc<Shared>,
    pub(crate) outgoing: mpsc::UnboundedSender<Outgoing>,
    pub(super) way: Way,
}

impl PeerHandle {
    pub(crate) fn send(&self, bytes: Vec<u8>, class: SendClass) {
        if let SendClass::Answer { size } | SendClass::LongAnswer { size, .. } = class {
            self.shared.requests.sub(size);
        }
        // A connection whose task has ended is about to be forgotten.
        drop(self.outgoing.send(Outgoing::Bytes(bytes, class)));
    }

    pub(crate) fn close(&self) {
        drop(self.outgoing.send(Outgoing::Close));
        self.shared.closed.cancel();
    }

    /// The peer has signed in, and may send frames of this size.
    pub(crate) fn signed_in(&self, frame_limit: usize) {
        self.shared.frame_limit.store(frame_limit, Ordering::Relaxed);
        self.way.signed_in();
    }
}

/// What every connection needs.
#[derive(Debug)]
pub(crate) struct Common {
    pub(crate) driver: mpsc::Sender<Message>,
    /// Memory of unfinished frames.
    pub(crate) unfinished: Arc<Budget>,
    /// Memory of requests without an answer.
    pub(crate) requests: Arc<Budget>,
    /// Ends the reading of all connections.
    pub(crate) stop: CancellationToken,
    /// For those who have not signed in, and want a place in the driver's line.
    pub(crate) strangers: Semaphore,
    /// For who reads or writes much: a turn is one piece, and the line of what is ready to run holds only so many of them,
    /// however many megabytes are sent at once.
    pub(crate) long: Semaphore,
    /// The runtime of those who have signed in.
    pub(crate) inside: Handle,
}

/// A connection's way to the core. All inputs stand in one line; of those who have not signed in, and may come late to a place
/// that they were given, only some wait there at a time.
#[derive(Debug, Clone, Copy)]
struct ToCore<'a> {
    id: ConnectionId,
    way: &'a Way,
    common: &'a Common,
}

impl ToCore<'_> {
    /// Whether the driver is still there.
    async fn send(&self, message: Message) -> bool {
        // Only a closed semaphore refuses, and nobody closes it.
        let _place = if self.way.is_inside() { None } else { self.common.strangers.acquire().await.ok() };
        self.common.driver.send(message).await.is_ok()
    }

    /// Where the turns of long reads and writes are, for who has signed in: the others are served by threads that may wait
    /// long for a processor, and nobody must wait for them.
    fn turns(&self) -> Option<&Semaphore> {
        self.way.is_inside().then_some(&self.common.long)
    }

    async fn malformed(&self, problem: String) {
        let input = Input::Malformed { connection: self.id, request: 0, problem };
        self.send(Message::Input(input)).await;
    }

    async fn disconnected(&self) {
        self.send(Message::Input(Input::Disconnected { connection: self.id })).await;
    }
}

/// A connection whose TLS handshake is done.
#[derive(Debug)]
pub(crate) struct Peer<S> {
    pub(crate) stream: S,
    pub(super) way: Way,
    pub(crate) id: ConnectionId,
    pub(crate) address: SocketAddr,
    pub(crate) challenge: [u8; 32],
    pub(crate) exporter: [u8; 32],
}

/// Serves a connection to its end.
pub(crate) async fn serve<S: AsyncRead + AsyncWrite + Unpin + Send>(peer: Peer<S>, common: &Common) {
    let (outgoing, mut queue) = mpsc::unbounded_channel();
    let shared = Arc::new(Shared {
        frame_limit: AtomicUsize::new(MAX_FRAME_BEFORE_LOGIN),
        requests: common.requests.share(),
        places: Semaphore::new(MAX_PIPELINED),
        bytes: Semaphore::new(IN_FLIGHT),
        closed: CancellationToken::new(),
    });
    let Peer { stream, way, id, address, challenge, exporter } = peer;
    let handle = PeerHandle { shared: Arc::clone(&shared), outgoing, way: way.clone() };
    let core = ToCore { id, way: &way, common };
    let connected = Input::Connected { connection: id, peer: address, challenge, exporter };
    if !core.send(Message::Open(connected, handle)).await {
        return;
    }
    let (mut reading, mut writing) = tokio::io::split(stream);
    let wrote_all = {
        let mut reader = pin!(async {
            tokio::select! {
                () = read(&mut reading, core, &shared) => GOODBYE_TIMEOUT,
                // Nothing that it sends means anything any more.
                () = shared.closed.cancelled() => LAST_WORDS_TIMEOUT,
            }
        });
        let mut writer = pin!(write(&mut writing, core, &mut queue, &shared));
        tokio::select! {
            all = &mut writer => all,
            // What the core has said, or says to the last requests, still goes out. The writer goes on while this waits: it may
            // stand in front of it in the driver's line, and a place that is given to who does not take it stops the server.
            longest = &mut reader => tokio::select! {
                all = &mut writer => all,
                () = core.disconnected() => timeout(longest, &mut writer).await.unwrap_or(false),
            }
        }
    };
    if wrote_all {
        // Closing with unread bytes would reset the connection and could take the last words with it.
        let goodbye = async {
            drop(writing.shutdown().await);
            while matches!(read_some(&mut reading, |_| ()).await, Ok(read) if read > 0) {}
        };
        drop(timeout(GOODBYE_TIMEOUT, goodbye).await);
    }
    core.disconnected().await;
}

/// Reads until the peer ends, falls silent or breaks the rules.
async fn read<R: AsyncRead + Unpin>(reading: &mut R, core: ToCore<'_>, shared: &Shared) {
    let common = core.common;
    let mut decoder = FrameDecoder::new(MAX_FRAME_BEFORE_LOGIN);
    let unfinished = common.unfinished.share();
    let silence = Duration::from_millis(PEER_SILENCE_MS);
    let mut frame_due: Option<Instant> = None;
    let mut since_others = 0;
    loop {
        loop {
            decoder.set_limit(shared.frame_limit.load(Ordering::Relaxed));
            match decoder.next_frame() {
                Ok(Some(frame)) => {
                    frame_due = None;
                    // Until it is admitted it is held, as it was before it was whole.
                    let (waiting, room) = (decoder.buffered(), decoder.room() + frame.payload.capacity());
                    if !hold(&unfinished, frame.payload.len() + waiting, room) {
                        return no_memory(core).await;
                    }
                    // An own limit on waiting: else who never reads its answers would stay for ever.
                    match timeout(silence, admit(frame, core, shared)).await {
                        Ok(true) => {}
                        Ok(false) => return give_up().await,
                        Err(_) => return,
                    }
                }
                Ok(None) => break,
                Err(error) => {
                    core.malformed(error.to_string()).await;
                    return give_up().await;
                }
            }
        }
        let waiting = decoder.buffered();
        if !hold(&unfinished, waiting, decoder.room()) {
            return no_memory(core).await;
        }
        let now = Instant::now();
        let due = if waiting == 0 { None } else { Some(frame_due.unwrap_or(now + FRAME_TIMEOUT)) };
        frame_due = due;
        let until = due.map_or(now + silence, |due| due.min(now + silence));
        let read = async {
            let take = |bytes: &[u8]| decoder.push(bytes);
            match core.turns() {
                Some(long) if waiting >= BEFORE_OTHERS => read_in_turn(reading, long, take).await,
                _ => read_some(reading, take).await,
            }
        };
        let read = tokio::select! {
            read = timeout_at(until, read) => read,
            () = common.stop.cancelled() => return std::future::pending().await,
        };
        match read {
            Ok(Ok(0) | Err(_)) | Err(_) => return,
            Ok(Ok(read)) => since_others += read,
        }
        if since_others >= BEFORE_OTHERS {
            since_others = 0;
            yield_now().await;
        }
    }
}

/// Counts the room that a connection's bytes have, which the system may fill all the same (huge pages); `false` where the
/// budget of all has no more. Short frames are not counted: a flood of long ones must not keep others from signing in.
fn hold(unfinished: &Share, bytes: usize, room: usize) -> bool {
    unfinished.set(if bytes > MAX_FRAME_BEFORE_LOGIN { room } else { 0 })
}

async fn no_memory(core: ToCore<'_>) {
    core.malformed("the server has no memory for long frames just now; try again".to_owned()).await;
    give_up().await;
}

/// After bytes that mean nothing: the core answers and closes, and until then nothing more is read.
async fn give_up() {
    sleep(GOODBYE_TIMEOUT).await;
}

/// Hands a frame to the core when there is room for one more; `false` if it was malformed.
async fn admit(frame: RawFrame, core: ToCore<'_>, shared: &Shared) -> bool {
    let id = core.id;
    let size = frame.payload.len();
    let permits = u32::try_from(size.min(IN_FLIGHT)).unwrap_or(u32::MAX);
    let (Ok(place), Ok(bytes)) = (shared.places.acquire().await, shared.bytes.acquire_many(permits).await)
    else {
        return false;
    };
    // Given back when the answer has been written.
    place.forget();
    bytes.forget();
    shared.requests.take(size).await;
    let RawFrame { kind, request, mut payload } = frame;
    let (input, fine) = match ClientFrame::decode(kind, &payload) {
        Ok(Some(frame)) => (Input::Frame { connection: id, request, size, frame }, true),
        Ok(None) => (Input::Unsupported { connection: id, request, size, kind }, true),
        Err(error) => {
            let problem = format!("request kind {kind:#06x}: {error}");
            (Input::Malformed { connection: id, request, problem }, false)
        }
    };
    if LOGIN_KINDS.contains(&kind) {
        payload.zeroize();
    }
    core.send(Message::Input(input)).await && fine
}

/// Writes until the driver says that no more will come (`true`), or the peer is gone.
async fn write<W: AsyncWrite + Unpin>(
    writing: &mut W,
    core: ToCore<'_>,
    queue: &mut mpsc::UnboundedReceiver<Outgoing>,
    shared: &Shared,
) -> bool {
    let mut batch = Vec::new();
    loop {
        if queue.recv_many(&mut batch, WRITE_AT_ONCE).await == 0 {
            return true;
        }
        let mut bytes = Vec::new();
        let (mut answers, mut answered, mut pushed, mut long) = (0, 0, 0, 0);
        let mut close = false;
        for outgoing in batch.drain(..) {
            match outgoing {
                Outgoing::Bytes(frame, class) => {
                    match class {
                        SendClass::Answer { size } => {
                            answers += 1;
                            answered += size.min(IN_FLIGHT);
                        }
                        SendClass::LongAnswer { size, length } => {
                            answers += 1;
                            answered += size.min(IN_FLIGHT);
                            long += length;
                        }
                        SendClass::Push => pushed += frame.len(),
                        SendClass::Notice => {}
                    }
                    if bytes.is_empty() {
                        bytes = frame;
                    } else {
                        bytes.extend_from_slice(&frame);
                    }
                }
                Outgoing::Close => {
                    close = true;
                    break;
                }
            }
        }
        for (n, piece) in bytes.chunks(BEFORE_OTHERS).enumerate() {
            let written = match core.turns() {
                Some(long) if n > 0 => write_in_turn(writing, long, piece).await,
                _ => {
                    if n > 0 {
                        yield_now().await;
                    }
                    writing.write_all(piece).await
                }
            };
            if written.is_err() {
                return false;
            }
        }
        if writing.flush().await.is_err() {
            return false;
        }
        shared.places.add_permits(answers);
        shared.bytes.add_permits(answered);
        if close {
            return true;
        }
        if pushed > 0 || long > 0 {
            let input = Input::Written { connection: core.id, pushes: pushed, answers: long };
            if !core.send(Message::Input(input)).await {
                return true;
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use tokio::task::JoinHandle;
    use tokio_util::task::TaskTracker;

    use super::{super::lobby::pass, *};

    /// What connections have in common, and the driver's line, which takes one message.
    fn common() -> (Arc<Common>, mpsc::Receiver<Message>) {
        let (driver, messages) = mpsc::channel(1);
        let common = Common {
            driver,
            unfinished: Budget::new(1 << 20),
            requests: Budget::new(1 << 20),
            stop: CancellationToken::new(),
            strangers: Semaphore::new(8),
            long: Semaphore::new(1),
            inside: Handle::current(),
        };
        (Arc::new(common), messages)
    }

    /// A connection's other side, which so many bytes wait for, the driver's end of it, and its task.
    async fn connected(
        common: &Arc<Common>,
        messages: &mut mpsc::Receiver<Message>,
        room: usize,
    ) -> (tokio::io::DuplexStream, PeerHandle, JoinHandle<()>) {
        let (client, stream) = tokio::io::duplex(room);
        let (way, id) = (Way::default(), ConnectionId(1));
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        let peer = Peer { stream, way: way.clone(), id, address, challenge: [0; 32], exporter: [0; 32] };
        let common = Arc::clone(common);
        let served = tokio::spawn(async move {
            let (inside, tasks) = (common.inside.clone(), TaskTracker::new());
            pass(async move { serve(peer, &common).await }, way, &inside, &tasks).await;
            tasks.close();
            tasks.wait().await;
        });
        let Some(Message::Open(_, handle)) = messages.recv().await else { panic!("no connection") };
        (client, handle, served)
    }

    /// The end of a connection and what its writer has to say both get a place in the driver's line, in their order.
    #[tokio::test]
    async fn who_is_gone_while_the_line_is_full_is_told_to_the_core() {
        let (common, mut messages) = common();
        let (mut client, handle, served) = connected(&common, &mut messages, 1024).await;
        let (roster, _answer) = tokio::sync::oneshot::channel();
        common.driver.send(Message::Roster(roster)).await.unwrap();
        handle.send(b"a push".to_vec(), SendClass::Push);
        tokio::io::AsyncReadExt::read_exact(&mut client, &mut [0; 6]).await.unwrap();
        // It is written, and that waits behind what the line is full of; so does the connection's end.
        drop(client);
        sleep(Duration::from_millis(50)).await;
        let mut next = async || timeout(Duration::from_secs(10), messages.recv()).await.unwrap().unwrap();
        assert!(matches!(next().await, Message::Roster(_)));
        assert!(matches!(next().await, Message::Input(Input::Written { pushes: 6, .. })));
        assert!(matches!(next().await, Message::Input(Input::Disconnected { .. })));
        drop(handle);
        while !served.is_finished() {
            // It is told again at the end.
            drop(timeout(Duration::from_millis(10), messages.recv()).await);
        }
    }

    /// Also while it sends on: what waits for it, and what it has sent, is held no longer.
    #[tokio::test(start_paused = true)]
    async fn who_is_closed_and_reads_nothing_is_gone_in_seconds() {
        let (common, mut messages) = common();
        let (mut client, handle, served) = connected(&common, &mut messages, 16).await;
        let begun = Instant::now();
        handle.send(vec![7; 1024], SendClass::Push);
        handle.close();
        drop(handle);
        // A long frame, a byte a second.
        let mut next = 10_000_u32.to_be_bytes().to_vec();
        while !served.is_finished() && begun.elapsed() < 10 * LAST_WORDS_TIMEOUT {
            drop(client.write_all(&next).await);
            next = vec![0];
            sleep(Duration::from_secs(1)).await;
            while messages.try_recv().is_ok() {}
        }
        assert!(begun.elapsed() < LAST_WORDS_TIMEOUT + 2 * GOODBYE_TIMEOUT, "{:?}", begun.elapsed());
    }

    /// The peer signs in, and the connection goes on inside.
    async fn sign_in(client: &mut tokio::io::DuplexStream, handle: &PeerHandle) {
        handle.signed_in(MAX_FRAME);
        handle.send(b"in".to_vec(), SendClass::Notice);
        tokio::io::AsyncReadExt::read_exact(client, &mut [0; 2]).await.unwrap();
        while !handle.way.is_inside() {
            yield_now().await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_nothing_or_sends_slowly_keeps_no_turn() {
        let (common, mut messages) = common();
        let long = vec![7; 100_000];
        let mut stuck = Vec::new();
        for sends in [false, true] {
            let (mut client, handle, served) = connected(&common, &mut messages, 20_000).await;
            sign_in(&mut client, &handle).await;
            if sends {
                client.write_all(&90_000_u32.to_be_bytes()).await.unwrap();
                client.write_all(&[7; BEFORE_OTHERS]).await.unwrap();
            } else {
                handle.send(long.clone(), SendClass::Notice);
            }
            stuck.push((client, handle, served));
        }
        let (mut client, handle, _served) = connected(&common, &mut messages, 20_000).await;
        sign_in(&mut client, &handle).await;
        handle.send(long.clone(), SendClass::Notice);
        let (mut reading, mut writing) = tokio::io::split(client);
        let mut received = vec![0; long.len()];
        let frame = [&100_000_u32.to_be_bytes()[..], &long].concat();
        let both = async {
            tokio::join!(
                tokio::io::AsyncReadExt::read_exact(&mut reading, &mut received),
                writing.write_all(&frame),
                messages.recv(),
            )
        };
        let (read, wrote, message) = timeout(Duration::from_secs(60), both).await.unwrap();
        assert!(read.is_ok() && wrote.is_ok());
        let Some(Message::Input(Input::Unsupported { size, .. })) = message else { panic!("{message:?}") };
        assert_eq!((size, received == long), (100_000 - 6, true));
    }
}
