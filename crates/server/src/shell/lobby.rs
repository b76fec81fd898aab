//! Where connections are until they have signed in: on threads of their own, which stand back for everybody inside.
//!
//! Anybody can open connections, begin handshakes and send what is no login, as fast as they like. On a runtime of its
//! own, with a lower priority, that takes only the processor time that those inside leave. Who signs in is taken inside:
//! its future goes on there, and so does its socket, whose readiness an idle reactor of the lobby would tell late.

use std::{
    future::poll_fn,
    io::{self, IoSlice},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    runtime::{Builder, Handle, Runtime},
};
use tokio_util::task::TaskTracker;

use super::priority::{BEHIND_INSIDERS, stand_back};

/// The runtime of the lobby. To be shut down after that of those inside, some of whose timers it may still have.
pub(crate) fn runtime() -> io::Result<Runtime> {
    Builder::new_multi_thread()
        .thread_name("lobby")
        .enable_all()
        .on_thread_start(|| stand_back(BEHIND_INSIDERS))
        .build()
}

/// The way inside of one connection, told from several places.
#[derive(Debug, Clone, Default)]
pub(super) struct Way {
    signed_in: Arc<AtomicBool>,
    inside: Arc<AtomicBool>,
}

impl Way {
    /// The core says that the peer has signed in.
    pub(super) fn signed_in(&self) {
        self.signed_in.store(true, Ordering::Release);
    }

    /// Whether the connection goes on inside.
    pub(super) fn is_inside(&self) -> bool {
        self.inside.load(Ordering::Acquire)
    }
}

/// Polls a connection's future in the lobby until it ends or has signed in; then it goes on inside.
pub(super) async fn pass<F>(connection: F, way: Way, inside: &Handle, tasks: &TaskTracker)
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut connection = Box::pin(connection);
    let ended = poll_fn(|context| match connection.as_mut().poll(context) {
        Poll::Ready(()) => Poll::Ready(true),
        // Whoever says so also has something to say to the peer, which wakes this up.
        Poll::Pending if way.signed_in.load(Ordering::Acquire) => Poll::Ready(false),
        Poll::Pending => Poll::Pending,
    })
    .await;
    if !ended {
        way.inside.store(true, Ordering::Release);
        tasks.spawn_on(connection, inside);
    }
}

/// A socket that comes along: first used inside, it leaves the lobby's reactor for that of the runtime it is used on.
#[derive(Debug)]
pub(super) struct MovingSocket {
    /// Gone if the move failed.
    stream: Option<TcpStream>,
    way: Way,
    moved: bool,
}

impl MovingSocket {
    pub(super) fn new(stream: TcpStream, way: Way) -> Self {
        Self { stream: Some(stream), way, moved: false }
    }

    fn here(&mut self) -> io::Result<Pin<&mut TcpStream>> {
        if !self.moved && self.way.is_inside() {
            self.moved = true;
            let stream = self.stream.take().map(TcpStream::into_std).transpose()?;
            self.stream = stream.map(TcpStream::from_std).transpose()?;
        }
        self.stream.as_mut().map(Pin::new).ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

impl AsyncRead for MovingSocket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.here()?.poll_read(context, buffer)
    }
}

impl AsyncWrite for MovingSocket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.here()?.poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.here()?.poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        // As TcpStream does.
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.here()?.poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.here()?.poll_shutdown(context)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::*;

    /// Answers each byte with whether the lobby's threads did it; a 1 signs the peer in.
    async fn answer(mut socket: MovingSocket, way: Way) {
        let mut byte = [0];
        while socket.read_exact(&mut byte).await.is_ok() {
            let in_lobby = std::thread::current().name() == Some("lobby");
            if byte == [1] {
                way.signed_in();
            }
            if socket.write_all(&[u8::from(in_lobby)]).await.is_err() {
                return;
            }
            // As who waits for the next request does, also where that is there already.
            tokio::task::yield_now().await;
        }
    }

    async fn ask(peer: &mut TcpStream, byte: u8) -> u8 {
        peer.write_all(&[byte]).await.unwrap();
        peer.read_u8().await.unwrap()
    }

    #[tokio::test]
    async fn who_signs_in_goes_on_inside_with_its_socket() {
        let lobby = runtime().unwrap();
        let (inside, tasks) = (Handle::current(), TaskTracker::new());
        let listener = {
            let _of_its_reactor = lobby.enter();
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            listener.set_nonblocking(true).unwrap();
            TcpListener::from_std(listener).unwrap()
        };
        let address = listener.local_addr().unwrap();
        let all = tasks.clone();
        let door = lobby.spawn(async move {
            for _ in 0..2 {
                let (stream, _) = listener.accept().await.unwrap();
                let (way, inside, tasks) = (Way::default(), inside.clone(), all.clone());
                let served = answer(MovingSocket::new(stream, way.clone()), way.clone());
                all.spawn(async move { pass(served, way, &inside, &tasks).await });
            }
        });
        let mut signed_in = TcpStream::connect(address).await.unwrap();
        let mut stranger = TcpStream::connect(address).await.unwrap();
        door.await.unwrap();
        assert_eq!(ask(&mut stranger, 0).await, 1);
        assert_eq!(ask(&mut signed_in, 0).await, 1);
        assert_eq!(ask(&mut signed_in, 1).await, 1, "the answer to the login still comes from the lobby");
        assert_eq!(ask(&mut signed_in, 0).await, 0);
        assert_eq!(ask(&mut stranger, 0).await, 1);
        // The one inside needs nothing of the lobby any more.
        lobby.shutdown_background();
        assert_eq!(stranger.read(&mut [0]).await.unwrap_or(0), 0, "its task ended with the lobby");
        assert_eq!(ask(&mut signed_in, 0).await, 0);
        drop(signed_in);
        tasks.close();
        tasks.wait().await;
    }

    #[test]
    fn the_lobby_stands_back() {
        let lobby = runtime().unwrap();
        let nice = |of: &Runtime| {
            let priority = of.spawn(async { rustix::process::getpriority_process(None) });
            of.block_on(priority).unwrap().unwrap()
        };
        let inside = Builder::new_multi_thread().build().unwrap();
        // The kernel knows none above 19.
        assert_eq!(nice(&lobby), (nice(&inside) + BEHIND_INSIDERS).min(19));
        lobby.shutdown_background();
    }
}
