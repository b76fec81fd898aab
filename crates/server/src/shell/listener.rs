//! Listening, and the TLS handshake of each connection.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use rand::{TryRng, rngs::SysRng};
use rustls::ServerConfig;
use socket2::{Domain, Protocol, Socket, Type};
use sotto_proto::login::EXPORTER_LABEL;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::timeout,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{debug, warn};

use super::{
    identity::ALPN,
    peer::{Common, Peer, serve},
};
use crate::core::ConnectionId;

/// How long a TLS handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Handshakes under way; further connections are closed at once. Each costs some 40 KiB and ten seconds at most.
const HALF_OPEN: usize = 4096;
/// Connections the kernel keeps until they are accepted: a crowd that reconnects at once.
const BACKLOG: i32 = 4096;
/// After an error of accept (no file descriptors left).
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Where to listen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Listen {
    /// All addresses, IPv6 and IPv4, on this port.
    Everywhere(u16),
    /// Here only.
    At(SocketAddr),
}

impl std::fmt::Display for Listen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Everywhere(port) => write!(f, "*:{port}"),
            Self::At(address) => write!(f, "{address}"),
        }
    }
}

/// Binds; the port may be re-used at once after a crash.
pub(crate) fn bind(listen: Listen) -> io::Result<TcpListener> {
    match listen {
        Listen::At(address) => bind_at(address, address.is_ipv6()),
        Listen::Everywhere(port) => match bind_at((Ipv6Addr::UNSPECIFIED, port).into(), false) {
            // A machine without IPv6.
            Err(error) if error.kind() != io::ErrorKind::AddrInUse => {
                bind_at((Ipv4Addr::UNSPECIFIED, port).into(), false)
            }
            result => result,
        },
    }
}

fn bind_at(address: SocketAddr, only_v6: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(only_v6)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Accepts until told to stop.
pub(crate) async fn accept(
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    common: Arc<Common>,
    stop: CancellationToken,
    tasks: TaskTracker,
) {
    let acceptor = TlsAcceptor::from(tls);
    let half_open = Arc::new(Semaphore::new(HALF_OPEN));
    let next = Arc::new(AtomicU64::new(1));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                warn!("a connection could not be accepted: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&half_open).try_acquire_owned() else {
            debug!("{address} closed: too many handshakes under way");
            continue;
        };
        let (acceptor, common, next) = (acceptor.clone(), Arc::clone(&common), Arc::clone(&next));
        tasks.spawn(async move {
            let address = canonical(address);
            let peer = timeout(HANDSHAKE_TIMEOUT, handshake(acceptor, stream, address, &next)).await;
            drop(place);
            match peer {
                Ok(Ok(peer)) => serve(*peer, &common).await,
                Ok(Err(error)) => debug!("{address} closed: TLS handshake: {error}"),
                Err(_) => debug!("{address} closed: no TLS handshake in time"),
            }
        });
    }
}

/// IPv4 peers of a dual-stack socket look like what they are.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

type TlsPeer = Peer<tokio_rustls::server::TlsStream<TcpStream>>;

async fn handshake(
    acceptor: TlsAcceptor,
    stream: TcpStream,
    address: SocketAddr,
    next: &AtomicU64,
) -> io::Result<Box<TlsPeer>> {
    stream.set_nodelay(true)?;
    let stream = acceptor.accept(stream).await?;
    let (_, tls) = stream.get_ref();
    // A client without ALPN passes rustls; it does not speak our protocol.
    if tls.alpn_protocol() != Some(ALPN) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "not our application protocol"));
    }
    let exporter = tls.export_keying_material([0; 32], EXPORTER_LABEL, None).map_err(io::Error::other)?;
    let mut challenge = [0; 32];
    SysRng.try_fill_bytes(&mut challenge).map_err(io::Error::other)?;
    let id = ConnectionId(next.fetch_add(1, Ordering::Relaxed));
    Ok(Box::new(Peer { stream, id, address, challenge, exporter }))
}
