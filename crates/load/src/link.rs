//! A connection to the server.

use std::future::poll_fn;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use anyhow::{Context as _, bail, ensure};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};
use sotto_client::tls;
use sotto_proto::{
    Address, Incarnation, KeyChain, QueueNumber, ServerId, VersionRange,
    frame::{AccountLogin, Attach, ClientFrame, DeviceLogin, FrameDecoder, Hello, Register, ServerFrame},
    limits::MAX_FRAME,
    login::EXPORTER_LABEL,
};
use tokio::io::{AsyncRead as _, AsyncWriteExt as _, ReadBuf};
use tokio::net::{TcpSocket, TcpStream, lookup_host};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::person::Person;

/// Bytes read at once.
const READ_AT_ONCE: usize = 16 * 1024;

/// Which server.
#[derive(Clone)]
pub(crate) struct Target {
    socket: SocketAddr,
    fingerprint: Option<[u8; 32]>,
    tls: Arc<ClientConfig>,
}

impl Target {
    /// Looks the address up once for all connections.
    pub(crate) async fn new(address: &Address) -> anyhow::Result<Self> {
        let found = lookup_host(address.host_port()).await?.next();
        let socket = found.with_context(|| format!("no address of {}", address.host))?;
        Ok(Self { socket, fingerprint: address.fingerprint, tls: tls::config()? })
    }

    /// Whether the server is on this machine's loopback, where a client can come from many addresses.
    pub(crate) fn is_loopback_v4(&self) -> bool {
        self.socket.ip().is_loopback() && self.socket.is_ipv4()
    }

    /// A connection from `source`, or from wherever the system likes.
    pub(crate) async fn tcp(&self, source: impl Into<Option<IpAddr>>) -> anyhow::Result<TcpStream> {
        let tcp = match source.into() {
            Some(source) => {
                let socket = TcpSocket::new_v4()?;
                socket.bind(SocketAddr::new(source, 0))?;
                socket.connect(self.socket).await?
            }
            None => TcpStream::connect(self.socket).await?,
        };
        tcp.set_nodelay(true)?;
        Ok(tcp)
    }

    /// The same with TLS, on which nothing has been said yet.
    pub(crate) async fn tls(
        &self,
        source: impl Into<Option<IpAddr>>,
    ) -> anyhow::Result<TlsStream<TcpStream>> {
        let tcp = self.tcp(source).await?;
        Ok(TlsConnector::from(Arc::clone(&self.tls)).connect(ServerName::try_from("sotto")?, tcp).await?)
    }

    /// The bytes with which a client begins a TLS handshake.
    pub(crate) fn client_hello(&self) -> anyhow::Result<Vec<u8>> {
        let mut client = ClientConnection::new(Arc::clone(&self.tls), ServerName::try_from("sotto")?)?;
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes)?;
        Ok(bytes)
    }
}

/// An open connection, after Hello.
pub(crate) struct Link {
    stream: TlsStream<TcpStream>,
    decoder: FrameDecoder,
    server: ServerId,
    challenge: [u8; 32],
    exporter: [u8; 32],
    request: u32,
    mailbox: Option<(Incarnation, QueueNumber)>,
}

impl Link {
    /// Connects from `source`, or from wherever the system likes; verifies the key chain, says Hello.
    pub(crate) async fn open(target: &Target, source: impl Into<Option<IpAddr>>) -> anyhow::Result<Self> {
        let stream = target.tls(source).await?;
        let exporter = stream.get_ref().1.export_keying_material([0; 32], EXPORTER_LABEL, None)?;
        let mut link = Self {
            stream,
            decoder: FrameDecoder::new(MAX_FRAME),
            server: ServerId([0; 32]),
            challenge: [0; 32],
            exporter,
            request: 0,
            mailbox: None,
        };
        let ServerFrame::Chain(chain) = link.next().await? else {
            bail!("the server did not begin with its chain")
        };
        check(&chain, link.stream.get_ref().1, target.fingerprint)?;
        link.server = chain.server_id();
        let hello = Hello { versions: VersionRange::OURS, software: "sotto-load".to_owned() };
        match link.ask(&ClientFrame::Hello(hello)).await? {
            ServerFrame::Welcome(welcome) => link.challenge = welcome.challenge,
            other => bail!("Hello was answered by {other:?}"),
        }
        Ok(link)
    }

    /// Makes the person's account.
    pub(crate) async fn register(&mut self, person: &Person) -> anyhow::Result<()> {
        let register = self.registration(person);
        match self.ask(&ClientFrame::Register(register)).await? {
            ServerFrame::Done => Ok(()),
            other => bail!("Register was answered by {other:?}"),
        }
    }

    /// The request that makes the person's account on this connection.
    pub(crate) fn registration(&self, person: &Person) -> Register {
        person.register(&self.server, &self.challenge, &self.exporter)
    }

    /// Signs in by the account's key: an account may do so on any number of connections.
    pub(crate) async fn prove(&mut self, person: &Person) -> anyhow::Result<()> {
        let login = AccountLogin {
            username: person.username.to_string(),
            signature: person.sign_account_login(&self.server, &self.challenge, &self.exporter),
        };
        match self.ask(&ClientFrame::AccountLogin(login)).await? {
            ServerFrame::AccountIn(_) => Ok(()),
            other => bail!("AccountLogin was answered by {other:?}"),
        }
    }

    /// Signs in by the device's key.
    pub(crate) async fn login(&mut self, person: &Person) -> anyhow::Result<()> {
        let login = DeviceLogin {
            account: person.account,
            device: person.device,
            signature: person.sign_login(&self.server, &self.challenge, &self.exporter),
            interactive: true,
        };
        match self.ask(&ClientFrame::DeviceLogin(login)).await? {
            ServerFrame::DeviceIn(device_in) => {
                self.mailbox = Some((device_in.mailbox.incarnation, device_in.mailbox.acked));
                Ok(())
            }
            other => bail!("DeviceLogin was answered by {other:?}"),
        }
    }

    /// A connection that is signed in.
    pub(crate) async fn signed_in(
        target: &Target,
        source: impl Into<Option<IpAddr>>,
        person: &Person,
    ) -> anyhow::Result<Self> {
        let mut link = Self::open(target, source).await?;
        link.login(person).await?;
        Ok(link)
    }

    /// Starts delivery behind what was acked.
    pub(crate) async fn attach(&mut self) -> anyhow::Result<()> {
        let (incarnation, after) = self.mailbox.context("sign in first")?;
        match self.ask(&ClientFrame::Attach(Attach { incarnation, after })).await? {
            ServerFrame::Done => Ok(()),
            other => bail!("Attach was answered by {other:?}"),
        }
    }

    /// Asks for delivery behind what was acked, and does not wait for the answer.
    pub(crate) async fn send_attach(&mut self) -> anyhow::Result<()> {
        let (incarnation, after) = self.mailbox.context("sign in first")?;
        self.send(&ClientFrame::Attach(Attach { incarnation, after })).await?;
        Ok(())
    }

    /// The mailbox's incarnation, which acks name.
    pub(crate) fn incarnation(&self) -> anyhow::Result<Incarnation> {
        Ok(self.mailbox.context("sign in first")?.0)
    }

    /// Sends a request and waits for its answer.
    pub(crate) async fn ask(&mut self, frame: &ClientFrame) -> anyhow::Result<ServerFrame> {
        let request = self.send(frame).await?;
        loop {
            let (answered, frame) = self.take().await?;
            if answered == request {
                return Ok(frame);
            }
            ensure!(answered == 0, "an answer to a request that was not made");
        }
    }

    /// Sends a request; its number.
    pub(crate) async fn send(&mut self, frame: &ClientFrame) -> anyhow::Result<u32> {
        self.request += 1;
        self.write(&frame.encode(self.request)?).await?;
        Ok(self.request)
    }

    /// Sends whole frames.
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        self.stream.write_all(bytes).await?;
        Ok(self.stream.flush().await?)
    }

    /// The next frame.
    pub(crate) async fn next(&mut self) -> anyhow::Result<ServerFrame> {
        Ok(self.take().await?.1)
    }

    /// The stream itself, for who reads and writes at the same time.
    pub(crate) fn into_stream(self) -> TlsStream<TcpStream> {
        self.stream
    }

    /// The next frame that is here already.
    pub(crate) fn ready(&mut self) -> anyhow::Result<Option<ServerFrame>> {
        Ok(self.decoded()?.map(|(_, frame)| frame))
    }

    async fn take(&mut self) -> anyhow::Result<(u32, ServerFrame)> {
        loop {
            if let Some(frame) = self.decoded()? {
                return Ok(frame);
            }
            self.fill().await?;
        }
    }

    fn decoded(&mut self) -> anyhow::Result<Option<(u32, ServerFrame)>> {
        let Some(raw) = self.decoder.next_frame()? else { return Ok(None) };
        let frame = ServerFrame::decode(raw.kind, &raw.payload)?;
        Ok(Some((raw.request, frame.context("a kind of frame that is not in the protocol")?)))
    }

    /// Waits for more bytes. Nothing is lost when it is dropped.
    pub(crate) async fn fill(&mut self) -> anyhow::Result<()> {
        let read = poll_fn(|context| {
            let mut bytes = [0; READ_AT_ONCE];
            let mut buffer = ReadBuf::new(&mut bytes);
            match Pin::new(&mut self.stream).poll_read(context, &mut buffer) {
                Poll::Pending => Poll::Pending,
                Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                Poll::Ready(Ok(())) => {
                    self.decoder.push(buffer.filled());
                    Poll::Ready(Ok(buffer.filled().len()))
                }
            }
        });
        ensure!(read.await? > 0, "the server closed the connection");
        Ok(())
    }

    /// Says goodbye and waits for the server to have heard it.
    pub(crate) async fn bye(mut self) -> anyhow::Result<()> {
        self.ask(&ClientFrame::Bye).await?;
        Ok(())
    }
}

/// The chain leads to the key of this session, and the address's fingerprint stands in it.
fn check(chain: &KeyChain, session: &ClientConnection, fingerprint: Option<[u8; 32]>) -> anyhow::Result<()> {
    let certificate =
        session.peer_certificates().and_then(<[_]>::first).context("the server has no certificate")?;
    chain.verify(&tls::spki(certificate)?)?;
    if let Some(wanted) = fingerprint {
        ensure!(
            chain.position(&wanted).is_some(),
            "the server's chain does not hold the address's fingerprint"
        );
    }
    Ok(())
}
