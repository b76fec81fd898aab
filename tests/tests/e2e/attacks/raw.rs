//! A client without a conscience: raw frames over real TLS, from an address of its own, with throw-away keys.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::time::Duration;

use rand::RngExt as _;
use rustix::net::{AddressFamily, SocketType, bind, connect, socket, sockopt};
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};
use sotto_crypto::{AccountSecret, DeviceSecret};
use sotto_proto::{
    AccountId, Certificate, DeviceId, DeviceList, ListHash, ServerId, Signature, SignedDeviceList, Username,
    VersionRange,
    device_list::Revocation,
    frame::{
        AccountLogin, AuthKey, ClientFrame, DeviceLogin, ErrorCode, FrameDecoder, Hello, Register,
        ServerFrame,
    },
    limits::MAX_FRAME,
    login::EXPORTER_LABEL,
};
use sotto_tests::sottod::Server;

/// Longer than the server takes for anything.
pub(super) const PATIENCE: Duration = Duration::from_secs(90);
/// What a client asks the kernel to keep for it: less than anything that the server has for it.
const SMALL_BUFFER: usize = 4096;

/// An attacker's address; honest clients come from 127.0.0.1.
pub(super) fn address(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(127, 66, 0, number)
}

/// A TCP connection from there.
pub(super) fn tcp(server: &Server, from: Ipv4Addr) -> TcpStream {
    let to: SocketAddr = server.socket().parse().unwrap();
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    sockopt::set_socket_recv_buffer_size(&socket, SMALL_BUFFER).unwrap();
    bind(&socket, &SocketAddrV4::new(from, 0)).unwrap();
    connect(&socket, &to).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// A connection.
pub(super) struct Raw {
    stream: StreamOwned<ClientConnection, TcpStream>,
    decoder: FrameDecoder,
    server: ServerId,
    challenge: [u8; 32],
    exporter: [u8; 32],
    request: u32,
}

impl Raw {
    /// Connects, and says Hello; `None` if the server closes instead.
    pub(super) fn try_open(server: &Server, from: Ipv4Addr) -> Option<Self> {
        let name = ServerName::try_from("sotto").unwrap();
        let tls = ClientConnection::new(sotto_client::tls::config().unwrap(), name).unwrap();
        let mut raw = Self {
            stream: StreamOwned::new(tls, tcp(server, from)),
            decoder: FrameDecoder::new(MAX_FRAME),
            server: ServerId([0; 32]),
            challenge: [0; 32],
            exporter: [0; 32],
            request: 0,
        };
        let (_, ServerFrame::Chain(chain)) = raw.next()? else { panic!("the chain comes first") };
        raw.server = chain.server_id();
        raw.exporter = raw.stream.conn.export_keying_material([0; 32], EXPORTER_LABEL, None).unwrap();
        let hello = Hello { versions: VersionRange::OURS, software: "attacker".to_owned() };
        let ServerFrame::Welcome(welcome) = raw.ask(&ClientFrame::Hello(hello)) else { panic!("no welcome") };
        raw.challenge = welcome.challenge;
        Some(raw)
    }

    /// The same where the server takes it.
    pub(super) fn open(server: &Server, from: Ipv4Addr) -> Self {
        Self::try_open(server, from).expect("the server closes")
    }

    /// Signs in an account that is made first.
    pub(super) fn online(server: &Server, from: Ipv4Addr, person: &Person) -> Self {
        let mut raw = Self::open(server, from);
        let register = raw.registration(person);
        assert_eq!(raw.ask(&register), ServerFrame::Done);
        raw.sign_in(person);
        raw
    }

    /// The request that makes this person's account, on this connection.
    pub(super) fn registration(&self, person: &Person) -> ClientFrame {
        let (list, auth_key) = (person.list.hash(), AuthKey(rand::rng().random()));
        let (server, challenge, exporter) = (&self.server, &self.challenge, &self.exporter);
        let signature = person.secret.sign_registration(server, challenge, exporter, &list, &auth_key);
        ClientFrame::Register(Register {
            invite: None,
            username: person.name.to_string(),
            auth_key,
            list: person.list.as_bytes().to_vec().into(),
            device: person.device,
            signature,
        })
    }

    pub(super) fn sign_in(&mut self, person: &Person) {
        let (account, device) = (person.account, person.device);
        let signature = person.secret.sign_login(&self.server, &self.challenge, &self.exporter);
        let login = DeviceLogin { account, device, signature, interactive: true };
        let answer = self.ask(&ClientFrame::DeviceLogin(login));
        assert!(matches!(answer, ServerFrame::DeviceIn(_)), "{answer:?}");
    }

    /// The login by account key; with a signature of nobody where it is forged.
    pub(super) fn by_key(&self, person: &Person, forged: bool) -> ClientFrame {
        let right = person.owner.sign_login(&self.server, &self.challenge, &self.exporter);
        let signature = if forged { Signature([0; 64]) } else { right };
        ClientFrame::AccountLogin(AccountLogin { username: person.name.to_string(), signature })
    }

    /// Sends a request and takes what answers it; pushes are dropped.
    pub(super) fn ask(&mut self, frame: &ClientFrame) -> ServerFrame {
        let request = self.send(frame);
        loop {
            let (answered, frame) = self.next().expect("an answer");
            if answered == request {
                return frame;
            }
        }
    }

    /// Sends a request that is refused; the code.
    pub(super) fn refused(&mut self, frame: &ClientFrame) -> ErrorCode {
        match self.ask(frame) {
            ServerFrame::Error(reply) => reply.code,
            other => panic!("{} was answered by {other:?}", frame.name()),
        }
    }

    /// Sends a request; its id.
    pub(super) fn send(&mut self, frame: &ClientFrame) -> u32 {
        self.request += 1;
        self.write(&frame.encode(self.request).unwrap());
        self.request
    }

    pub(super) fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
        self.stream.flush().unwrap();
    }

    /// The same where the server may have closed before.
    pub(super) fn try_write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(bytes)?;
        self.stream.flush()
    }

    /// The next frame; `None` when the server has closed. Fails if it neither says anything nor closes.
    pub(super) fn next(&mut self) -> Option<(u32, ServerFrame)> {
        loop {
            if let Some(raw) = self.decoder.next_frame().unwrap() {
                return Some((raw.request, ServerFrame::decode(raw.kind, &raw.payload).unwrap().unwrap()));
            }
            let mut buffer = [0; 4096];
            match self.stream.read(&mut buffer) {
                Ok(0) => return None,
                Ok(read) => self.decoder.push(&buffer[..read]),
                Err(error) => {
                    let waited = [std::io::ErrorKind::WouldBlock, std::io::ErrorKind::TimedOut];
                    assert!(!waited.contains(&error.kind()), "the server neither answers nor closes");
                    return None;
                }
            }
        }
    }
}

/// An account and its first device.
pub(super) struct Person {
    pub(super) name: Username,
    pub(super) account: AccountId,
    pub(super) device: DeviceId,
    owner: AccountSecret,
    secret: DeviceSecret,
    list: SignedDeviceList,
}

impl Person {
    pub(super) fn new(name: &str) -> Self {
        Self::with_list(name, 1, 0)
    }

    /// So many devices, and revocations of others.
    pub(super) fn with_list(name: &str, devices: usize, revocations: usize) -> Self {
        let rng = &mut rand::rng();
        let (username, account) = (Username::parse(name).unwrap(), AccountId(rng.random()));
        let owner = AccountSecret::generate(rng);
        let mut made = Vec::new();
        for _ in 0..devices {
            let (device, secret) = (DeviceId(rng.random()), DeviceSecret::generate(rng));
            let certificate = Certificate {
                username: username.clone(),
                account,
                account_key: owner.public(),
                device,
                device_key: secret.device_key(),
                identity_key: secret.identity_key(),
                created_ms: 1,
            };
            made.push((device, secret, owner.sign_certificate(&certificate).unwrap()));
        }
        let list = DeviceList {
            username: username.clone(),
            account,
            account_key: owner.public(),
            number: 1,
            previous: ListHash([0; 32]),
            devices: made.iter().map(|(_, _, certificate)| certificate.clone()).collect(),
            revocations: (0..revocations)
                .map(|_| Revocation { device: DeviceId(rng.random()), revoked_ms: 1 })
                .collect(),
        };
        let list = owner.sign_device_list(&list).unwrap();
        let (device, secret, _) = made.swap_remove(0);
        Self { name: username, account, device, owner, secret, list }
    }
}
