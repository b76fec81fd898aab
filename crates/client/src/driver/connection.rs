//! One TLS connection with the server: frames in, frames out, kept alive, bounded in both directions.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use rustls::{AlertDescription, pki_types::ServerName};
use sotto_proto::{
    Address,
    frame::{ClientFrame, FrameDecoder, FrameError, PUSH, RawFrame},
    limits::{MAX_FRAME, MAX_PIPELINED, PEER_SILENCE_MS, PING_INTERVAL_MS},
    login::EXPORTER_LABEL,
};
use thiserror::Error;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    sync::mpsc,
    task::JoinSet,
    time::{Instant, timeout, timeout_at},
};
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;

use crate::api::{ClientError, ErrorKind};
use crate::tls;

/// For the name to be resolved: a resolver asks three servers, for a few seconds each.
const RESOLVE: Duration = Duration::from_secs(10);
/// For one address to answer: two lost SYNs; an address that swallows them must not hide the next one for long.
const CONNECT: Duration = Duration::from_secs(5);
/// For the TLS handshake: two round trips and a signature, by a busy server.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Addresses of one name that are tried.
const MAX_ADDRESSES: usize = 8;
/// For the last bytes to leave, and the server to close too.
const CLOSE: Duration = Duration::from_millis(1500);
/// Bytes a second of the slowest line: the system takes what is written long before it has left, and the answer comes after
/// that.
const SLOWEST: u64 = 4 * 1024;
/// The longest that what was written is taken to be on its way, milliseconds: a server takes no frame for longer.
const LONGEST_ON_ITS_WAY_MS: u64 = 120_000;
/// Bytes written at once, between two looks at whether that gets on.
const WRITE_AT_ONCE: usize = 16 * 1024;
/// Answers kept of those that come after the goodbye: as many as there can be requests under way.
const LATE_ANSWERS: usize = MAX_PIPELINED;
/// Frames read ahead: a whole batch of the engine.
const FRAMES_AHEAD: usize = 64;
/// Frames given to the writing task ahead; what is more waits with the sender.
const WRITES_AHEAD: usize = 16;
/// The driver's own request id: the core's stay below. Answers to it are nobody's business.
const DRIVER_REQUEST: u32 = u32::MAX;

/// Why a connection ended.
#[derive(Debug, Clone, Error)]
pub(crate) enum End {
    /// The server closed it.
    #[error("the server closed the connection")]
    Closed,
    /// Nothing came for two pings.
    #[error("the server has been silent for too long")]
    Silent,
    /// The network.
    #[error("{0}")]
    Broken(String),
    /// What came was no frame.
    #[error("the server sent what is no frame: {0}")]
    Frame(#[from] FrameError),
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        // Whoever is killed does not say goodbye.
        if error.kind() == io::ErrorKind::UnexpectedEof {
            Self::Closed
        } else {
            Self::Broken(error.to_string())
        }
    }
}

impl From<End> for ClientError {
    fn from(end: End) -> Self {
        Self::new(ErrorKind::Unreachable, "the connection to the server was lost").cause(end)
    }
}

/// What has gone over a connection.
#[derive(Debug)]
struct Passed {
    begun: Instant,
    /// How often something was heard.
    heard: AtomicU64,
    /// Bytes that were handed to the system.
    written: AtomicU64,
    /// When a slow line has sent all of them, milliseconds after the beginning.
    sent_ms: AtomicU64,
}

impl Passed {
    fn new() -> Self {
        let zero = || AtomicU64::new(0);
        Self { begun: Instant::now(), heard: zero(), written: zero(), sent_ms: zero() }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Bytes were handed to the system. Only the writing task says so.
    fn wrote(&self, bytes: usize) {
        let bytes = bytes as u64;
        self.written.fetch_add(bytes, Ordering::Relaxed);
        let begins_ms = self.sent_ms.load(Ordering::Relaxed).max(self.now_ms());
        self.sent_ms.store(begins_ms.saturating_add(takes_ms(bytes)), Ordering::Relaxed);
    }

    /// How much longer a slow line takes for what is on its way, milliseconds.
    fn on_its_way_ms(&self) -> u64 {
        self.sent_ms.load(Ordering::Relaxed).saturating_sub(self.now_ms())
    }
}

/// How long a slow line takes for so many bytes, milliseconds.
fn takes_ms(bytes: u64) -> u64 {
    bytes.saturating_mul(1000) / SLOWEST
}

/// A TLS session. Whose it is, its first frame has to show.
#[derive(Debug)]
pub(crate) struct Connection {
    /// DER SubjectPublicKeyInfo of the certificate that the server showed.
    pub(crate) spki: Vec<u8>,
    /// 32 bytes exported from the session, for login signatures.
    pub(crate) exporter: [u8; 32],
    frames: mpsc::Receiver<Result<RawFrame, End>>,
    writes: mpsc::Sender<Vec<u8>>,
    passed: Arc<Passed>,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

impl Connection {
    /// Connects to the first of the server's addresses that answers and speaks the protocol.
    pub(crate) async fn open(server: &Address) -> Result<Self, ClientError> {
        let unreachable = |cause: String| {
            ClientError::new(
                ErrorKind::Unreachable,
                format!("the server {} does not answer", server.host_port()),
            )
            .cause(cause)
        };
        let resolved = timeout(RESOLVE, tokio::net::lookup_host((server.host.as_str(), server.port)))
            .await
            .map_err(|_| unreachable("its name could not be resolved in time".to_owned()))?
            .map_err(|error| unreachable(error.to_string()))?;
        let mut last = unreachable("its name has no address".to_owned());
        for address in resolved.take(MAX_ADDRESSES) {
            last = match Self::to(server, address).await {
                Ok(connection) => return Ok(connection),
                Err(Refused::Network(cause)) => unreachable(format!("{address}: {cause}")),
                Err(Refused::Protocol(error)) => error,
            };
        }
        Err(last)
    }

    async fn to(server: &Address, address: SocketAddr) -> Result<Self, Refused> {
        let bug = |error: rustls::Error| {
            Refused::Protocol(ClientError::new(ErrorKind::Bug, "TLS cannot be set up").cause(error))
        };
        let network = |error: io::Error| Refused::Network(error.to_string());
        let late = |_| Refused::Network("no answer in time".to_owned());
        let tcp = timeout(CONNECT, TcpStream::connect(address)).await.map_err(late)?.map_err(network)?;
        tcp.set_nodelay(true).map_err(network)?;
        // The name is for the server's eyes only; where the host is not one, the address takes its place.
        let name =
            ServerName::try_from(server.host.clone()).unwrap_or(ServerName::IpAddress(address.ip().into()));
        let connector = TlsConnector::from(tls::config().map_err(bug)?);
        let tls = timeout(HANDSHAKE, connector.connect(name, tcp))
            .await
            .map_err(late)?
            .map_err(not_sotto(server))?;
        let (_, session) = tls.get_ref();
        if session.alpn_protocol() != Some(tls::ALPN) {
            return Err(Refused::Protocol(stranger(server, "it does not speak sotto/1")));
        }
        let certificate = session
            .peer_certificates()
            .and_then(<[_]>::first)
            .ok_or_else(|| Refused::Protocol(stranger(server, "it shows no certificate")))?;
        let spki = tls::spki(certificate).map_err(|error| Refused::Protocol(stranger(server, error)))?;
        let exporter = session.export_keying_material([0; 32], EXPORTER_LABEL, None).map_err(bug)?;
        Ok(Self::run(tls, spki, exporter))
    }

    fn run<S>(stream: S, spki: Vec<u8>, exporter: [u8; 32]) -> Self
    where
        S: AsyncRead + AsyncWrite + Send + 'static,
    {
        let (reading, writing) = tokio::io::split(stream);
        let (frames_in, frames) = mpsc::channel(FRAMES_AHEAD);
        let (writes, writes_out) = mpsc::channel(WRITES_AHEAD);
        let stop = CancellationToken::new();
        let passed = Arc::new(Passed::new());
        let mut tasks = JoinSet::new();
        tasks.spawn({
            let (stop, passed) = (stop.clone(), passed.clone());
            async move {
                let to_the_end = async {
                    let end = read(reading, &frames_in, &passed).await;
                    // Nobody listens any more if this fails.
                    let _ = frames_in.send(Err(end)).await;
                };
                tokio::select! {
                    () = to_the_end => {}
                    () = stop.cancelled() => {}
                }
            }
        });
        tasks.spawn({
            let (stop, passed) = (stop.clone(), passed.clone());
            async move {
                let broken = tokio::select! {
                    done = write(writing, writes_out, &passed) => done.is_err(),
                    () = stop.cancelled() => return,
                };
                if broken {
                    // The reading task would notice only after the silence limit.
                    stop.cancel();
                }
            }
        });
        Self { spki, exporter, frames, writes, passed, stop, tasks }
    }

    /// The next frame. After an error there is no other. Cancel safe.
    pub(crate) async fn next(&mut self) -> Result<RawFrame, End> {
        self.frames.recv().await.unwrap_or_else(|| Err(End::Broken("sending failed".to_owned())))
    }

    /// What has arrived already, without waiting.
    pub(crate) fn try_next(&mut self) -> Option<Result<RawFrame, End>> {
        self.frames.try_recv().ok()
    }

    /// Where encoded frames go; a full channel means that the server reads too slowly.
    pub(crate) fn writes(&self) -> mpsc::Sender<Vec<u8>> {
        self.writes.clone()
    }

    /// Sends a frame, after those before it.
    pub(crate) async fn send(&self, request: u32, frame: &ClientFrame) -> Result<(), ClientError> {
        let bytes = frame
            .encode(request)
            .map_err(|error| ClientError::new(ErrorKind::Bug, "a frame cannot be encoded").cause(error))?;
        self.writes.send(bytes).await.map_err(|_| End::Closed.into())
    }

    /// A count that rises whenever something arrives.
    pub(super) fn heard(&self) -> u64 {
        self.passed.heard.load(Ordering::Relaxed)
    }

    /// Lets what was given to [`Self::writes`] leave, then `rest`; says goodbye, and waits a little for the server to
    /// close. Until then it answers what was asked before: these frames are returned.
    pub(crate) async fn close(self, rest: impl IntoIterator<Item = Vec<u8>>) -> Vec<RawFrame> {
        let Self { mut frames, writes, stop, mut tasks, .. } = self;
        let mut late = Vec::new();
        let goodbye = async {
            for frame in rest {
                if writes.send(frame).await.is_err() {
                    break;
                }
            }
            if let Ok(bye) = ClientFrame::Bye.encode(DRIVER_REQUEST) {
                // A connection that is broken already needs no goodbye.
                let _ = writes.send(bye).await;
            }
            // Reading on until the server closes keeps a reset from overtaking the last frames. The writing side stays
            // open for as long: closing it would end the connection before the answers are there.
            while let Some(Ok(frame)) = frames.recv().await {
                if frame.request != PUSH && late.len() < LATE_ANSWERS {
                    late.push(frame);
                }
            }
            drop(writes);
        };
        if timeout(CLOSE, goodbye).await.is_err() {
            tracing::debug!("the server did not close in time");
        }
        stop.cancel();
        while tasks.join_next().await.is_some() {}
        late
    }
}

/// Why one address would not do.
enum Refused {
    Network(String),
    Protocol(ClientError),
}

fn stranger(server: &Address, cause: impl std::fmt::Display) -> ClientError {
    ClientError::new(
        ErrorKind::Unreachable,
        format!("what answers at {} is no Sotto server", server.host_port()),
    )
    .cause(cause)
    .hint("check host and port")
}

fn not_sotto(server: &Address) -> impl Fn(io::Error) -> Refused {
    |error| match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol)) => {
            let message = format!("the server at {} does not speak sotto/1", server.host_port());
            Refused::Protocol(
                ClientError::new(ErrorKind::Version, message)
                    .hint("update sotto, or ask the server's operator to"),
            )
        }
        Some(tls) => Refused::Protocol(stranger(server, tls)),
        None => Refused::Network(error.to_string()),
    }
}

/// Waits for bytes; an error when the server was silent for longer than a peer may be and a slow line takes for what is on
/// its way: what was when this began, and what was written since.
async fn heard<R: AsyncRead + Unpin>(tls: &mut R, buffer: &mut [u8], passed: &Passed) -> Result<usize, End> {
    let (since, before) = (Instant::now(), passed.written.load(Ordering::Relaxed));
    let on_its_way_ms = passed.on_its_way_ms();
    let allowed = || {
        let since_then = takes_ms(passed.written.load(Ordering::Relaxed) - before);
        let longer_ms = on_its_way_ms.saturating_add(since_then).min(LONGEST_ON_ITS_WAY_MS);
        since + Duration::from_millis(PEER_SILENCE_MS + longer_ms)
    };
    loop {
        let until = allowed();
        if let Ok(read) = timeout_at(until, tls.read(buffer)).await {
            return Ok(read?);
        }
        if allowed() <= until {
            return Err(End::Silent);
        }
    }
}

async fn read<R: AsyncRead + Unpin>(
    mut tls: R,
    frames: &mpsc::Sender<Result<RawFrame, End>>,
    passed: &Passed,
) -> End {
    // What comes before the chain is from nobody yet, but a chain alone may be longer than other early frames.
    let mut decoder = FrameDecoder::new(MAX_FRAME);
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let read = match heard(&mut tls, &mut buffer, passed).await {
            Err(end) => return end,
            Ok(0) => return End::Closed,
            Ok(read) => read,
        };
        passed.heard.fetch_add(1, Ordering::Relaxed);
        decoder.push(buffer.get(..read).unwrap_or_default());
        loop {
            match decoder.next_frame() {
                Ok(Some(frame)) if frame.request == DRIVER_REQUEST => {}
                Ok(Some(frame)) => {
                    if frames.send(Ok(frame)).await.is_err() {
                        return End::Closed;
                    }
                }
                Ok(None) => break,
                Err(error) => return error.into(),
            }
        }
    }
}

/// Writes until the channel is closed. A write that does not get on for as long as a silent peer is given ends it.
async fn write<W: AsyncWrite + Unpin>(
    mut tls: W,
    mut frames: mpsc::Receiver<Vec<u8>>,
    passed: &Passed,
) -> Result<(), End> {
    let stalled = Duration::from_millis(PEER_SILENCE_MS);
    let ping = ClientFrame::Ping.encode(DRIVER_REQUEST).map_err(FrameError::from)?;
    loop {
        let frame = match timeout(Duration::from_millis(PING_INTERVAL_MS), frames.recv()).await {
            Ok(Some(frame)) => frame,
            Ok(None) => break,
            Err(_) => ping.clone(),
        };
        let mut next = Some(frame);
        while let Some(frame) = next {
            for part in frame.chunks(WRITE_AT_ONCE) {
                timeout(stalled, tls.write_all(part)).await.map_err(|_| End::Silent)??;
                passed.wrote(part.len());
            }
            next = frames.try_recv().ok();
        }
        timeout(stalled, tls.flush()).await.map_err(|_| End::Silent)??;
    }
    Ok(timeout(stalled, tls.shutdown()).await.map_err(|_| End::Silent)??)
}

/// A ping of the driver's own, whose answer is dropped.
pub(super) fn ping() -> Option<Vec<u8>> {
    ClientFrame::Ping.encode(DRIVER_REQUEST).ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// How long a server may be silent to which so much was written within the wait.
    async fn silence(written: usize) -> (Result<usize, End>, u64) {
        let (_server, mut client) = tokio::io::duplex(64);
        let (passed, begun) = (Passed::new(), Instant::now());
        let wait = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            passed.wrote(written);
            std::future::pending::<()>().await;
        };
        let mut buffer = [0; 8];
        let ended = tokio::select! {
            ended = heard(&mut client, &mut buffer, &passed) => ended,
            () = wait => unreachable!(),
        };
        (ended, begun.elapsed().as_secs())
    }

    /// A batch takes minutes to go over a slow line, and its answer comes after it; no more than the server gives a frame.
    #[tokio::test(start_paused = true)]
    async fn silence_is_measured_by_what_was_sent() {
        for (written, seconds) in
            [(0, 75), (4096, 76), (128 * 1024, 107), (480 * 1024, 195), (4 * 1024 * 1024, 195)]
        {
            let (ended, after) = silence(written).await;
            assert!(matches!(ended, Err(End::Silent)), "{written}");
            assert_eq!(after, seconds, "{written}");
        }
    }

    /// What stands before it on the way, and was answered, does not use up its time.
    #[tokio::test(start_paused = true)]
    async fn what_comes_within_that_time_is_heard() {
        let (mut server, mut client) = tokio::io::duplex(64);
        let passed = Passed::new();
        // Both at once; the first takes 32 s of it.
        passed.wrote(128 * 1024);
        passed.wrote(300 * 1024);
        let mut buffer = [0; 8];
        let answers = async {
            tokio::time::sleep(Duration::from_secs(32)).await;
            server.write_all(b"first").await.unwrap();
            tokio::time::sleep(Duration::from_secs(80)).await;
            server.write_all(b"next").await.unwrap();
        };
        let read = async {
            let first = heard(&mut client, &mut buffer, &passed).await.unwrap();
            (first, heard(&mut client, &mut buffer, &passed).await.unwrap())
        };
        assert_eq!(tokio::join!(read, answers).0, (5, 4));
    }

    /// A server that has said more than is taken, and takes nothing itself, does not hold up the end.
    #[tokio::test(start_paused = true)]
    async fn a_server_that_only_talks_is_left_in_time() {
        let (mut server, client) = tokio::io::duplex(64);
        let connection = Connection::run(client, Vec::new(), [0; 32]);
        let ping = ClientFrame::Ping.encode(1).unwrap();
        for _ in 0..FRAMES_AHEAD {
            server.write_all(&ping).await.unwrap();
        }
        server.shutdown().await.unwrap();
        let begun = Instant::now();
        let closed = timeout(10 * CLOSE, connection.close(vec![vec![0; 1024]; WRITES_AHEAD + 2])).await;
        assert_eq!((closed.unwrap().len(), begun.elapsed()), (0, CLOSE));
    }

    /// Pings, which go out all the time, do not count as signs of life.
    #[tokio::test(start_paused = true)]
    async fn a_server_that_answers_no_ping_is_silent() {
        let (_server, mut client) = tokio::io::duplex(64);
        let (passed, begun) = (Passed::new(), Instant::now());
        let mut buffer = [0; 8];
        let pings = async {
            loop {
                passed.wrote(10);
                tokio::time::sleep(Duration::from_millis(PING_INTERVAL_MS)).await;
            }
        };
        let ended = tokio::select! {
            ended = heard(&mut client, &mut buffer, &passed) => ended,
            () = pings => unreachable!(),
        };
        assert!(matches!(ended, Err(End::Silent)));
        assert_eq!(begun.elapsed().as_secs(), 75);
    }
}
