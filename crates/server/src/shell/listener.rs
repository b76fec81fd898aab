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
use rustls::{ServerConfig, server::Acceptor};
use socket2::{Domain, Protocol, Socket, Type};
use sotto_proto::login::EXPORTER_LABEL;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
use tokio_rustls::LazyConfigAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{debug, warn};

use super::{
    addresses::{Addresses, Full, Place},
    identity::ALPN,
    lobby::{self, MovingSocket, Way},
    peer::{Common, Peer, serve},
    turns::Turns,
};
use crate::core::{ConnectionId, source};

/// How long a TLS handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Handshakes under way; further connections are closed at once. Each costs ten seconds at most, and some 40 KiB once its
/// hello is there.
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

/// What every handshake needs.
#[derive(Debug)]
pub(crate) struct Door {
    tls: Arc<ServerConfig>,
    addresses: Arc<Addresses>,
    half_open: Arc<Semaphore>,
    /// The costly part of handshakes, of which only some are computed at a time, in turn between addresses: a crowd at the
    /// door keeps neither those inside from being served nor others from coming in.
    computing: Arc<Turns>,
    next: AtomicU64,
}

impl Door {
    pub(super) fn new(tls: Arc<ServerConfig>, addresses: Arc<Addresses>) -> Arc<Self> {
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Arc::new(Self {
            tls,
            addresses,
            half_open: Arc::new(Semaphore::new(HALF_OPEN)),
            computing: Turns::new((processors / 2).max(1)),
            next: AtomicU64::new(1),
        })
    }

    /// Places for a connection: that of its handshake, and that of its address. `None` if it is to be closed at once.
    fn enter(&self, address: SocketAddr) -> Option<(OwnedSemaphorePermit, Place)> {
        let place = match self.addresses.enter(source(address.ip())) {
            Ok(place) => place,
            Err(Full::Open { first: true }) => {
                warn!(
                    "{address} closed: as many connections of its address as one may have; so are the next"
                );
                return None;
            }
            Err(full) => {
                debug!("{address} closed: too many connections of its address: {full:?}");
                return None;
            }
        };
        let Ok(half_open) = Arc::clone(&self.half_open).try_acquire_owned() else {
            debug!("{address} closed: too many handshakes under way");
            return None;
        };
        Some((half_open, place))
    }
}

/// Accepts until told to stop.
pub(crate) async fn accept(
    listener: TcpListener,
    door: Arc<Door>,
    common: Arc<Common>,
    stop: CancellationToken,
    tasks: TaskTracker,
) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        let (stream, address) = match accepted {
            Ok((stream, address)) => (stream, canonical(address)),
            Err(error) => {
                warn!("a connection could not be accepted: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Some((half_open, mut place)) = door.enter(address) else { continue };
        let (door, common) = (Arc::clone(&door), Arc::clone(&common));
        let tasks_inside = tasks.clone();
        tasks.spawn(async move {
            let peer = timeout(HANDSHAKE_TIMEOUT, handshake(&door, stream, address)).await;
            drop(half_open);
            place.opened();
            match peer {
                Ok(Ok(peer)) => {
                    let (way, inside) = (peer.way.clone(), common.inside.clone());
                    let served = async move {
                        serve(*peer, &common).await;
                        drop(place);
                    };
                    lobby::pass(served, way, &inside, &tasks_inside).await;
                }
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

type TlsPeer = Peer<tokio_rustls::server::TlsStream<MovingSocket>>;

async fn handshake(door: &Door, stream: TcpStream, address: SocketAddr) -> io::Result<Box<TlsPeer>> {
    stream.set_nodelay(true)?;
    let way = Way::default();
    let stream = MovingSocket::new(stream, way.clone());
    // Before its hello is there, a connection costs next to nothing.
    let hello = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
    let accepting = {
        let _turn = door.computing.take(source(address.ip())).await;
        // The key exchange and the signature are made in here.
        hello.into_stream(Arc::clone(&door.tls))
    };
    let stream = accepting.await?;
    let (_, tls) = stream.get_ref();
    // A client without ALPN passes rustls; it does not speak our protocol.
    if tls.alpn_protocol() != Some(ALPN) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "not our application protocol"));
    }
    let exporter = tls.export_keying_material([0; 32], EXPORTER_LABEL, None).map_err(io::Error::other)?;
    let mut challenge = [0; 32];
    SysRng.try_fill_bytes(&mut challenge).map_err(io::Error::other)?;
    let id = ConnectionId(door.next.fetch_add(1, Ordering::Relaxed));
    Ok(Box::new(Peer { stream, way, id, address, challenge, exporter }))
}
