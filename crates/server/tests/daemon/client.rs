//! A client of a few keys, on a blocking TLS connection.

use std::{
    collections::VecDeque,
    io::{Read as _, Write as _},
    net::TcpStream,
    ops::Range,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use ed25519_dalek::{Signer as _, SigningKey};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::CryptoProvider,
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use sotto_proto::{
    AccountId, Address, Certificate, DeviceId, DeviceList, FateTag, IdentityKey, KemKey, ListHash,
    PrekeyPublic, QueueNumber, Signature, SignedCertificate, SignedDeviceList, SubmissionId, Username,
    VersionRange,
    frame::{
        Attach, AuthKey, ClaimBundles, ClientFrame, Deliver, DeviceLogin, FrameDecoder, Hello,
        OutgoingEnvelope, PasswordLogin, PublishKeys, Register, ReplaceList, RequestDevice, ServerFrame,
        Submit, UsedList, Welcome,
    },
    keys::{AccountKey, DeviceKey, KEM_KEY_LENGTH},
    limits::MAX_FRAME,
    login,
    prekey::{
        KemPrekey, OneTimePrekey, PrekeyId, PrekeyUpload, SignedPrekey, SignedPrekeyKind, Validity,
        signing_input,
    },
};

/// How long the server may take for anything.
const PATIENCE: Duration = Duration::from_secs(30);

/// Accepts any certificate: the key chain and the address's fingerprint are what these tests look at. `sotto_client::tls`
/// has the same, but what belongs to the server does not reach the crates that decrypt.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.2".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let schemes = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, schemes)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}

/// Bytes that differ by person and use.
fn seeded<const N: usize>(seed: u16, what: u8) -> [u8; N] {
    let mut bytes = [what; N];
    bytes[..2].copy_from_slice(&seed.to_be_bytes());
    bytes
}

/// An account and one of its devices.
pub(crate) struct Person {
    name: Username,
    account: AccountId,
    key: SigningKey,
    device: DeviceId,
    device_key: SigningKey,
    identity_key: IdentityKey,
    list: SignedDeviceList,
}

/// What stands for everybody's password.
pub(crate) const AUTH_KEY: [u8; 32] = [7; 32];

impl Person {
    /// `seed` decides ids and keys.
    pub(crate) fn new(name: &str, seed: u16) -> Self {
        let key = SigningKey::from_bytes(&seeded(seed, 1));
        Self::listed(Username::parse(name).unwrap(), AccountId(seeded(seed, 3)), key, seed, None)
    }

    /// A further device of the same account, and the list that adds it.
    pub(crate) fn further(&self, seed: u16) -> Self {
        Self::listed(self.name.clone(), self.account, self.key.clone(), seed, Some(&self.list))
    }

    pub(crate) fn list(&self) -> &[u8] {
        self.list.as_bytes()
    }

    /// An account's device in a list after another one, or in the first.
    fn listed(
        name: Username,
        account: AccountId,
        key: SigningKey,
        seed: u16,
        before: Option<&SignedDeviceList>,
    ) -> Self {
        let device_key = SigningKey::from_bytes(&seeded(seed, 2));
        let identity_key = IdentityKey(seeded(seed, 5));
        let device = DeviceId(seeded(seed, 4));
        let account_key = AccountKey(key.verifying_key().to_bytes());
        let certificate = Certificate {
            username: name.clone(),
            account,
            account_key,
            device,
            device_key: DeviceKey(device_key.verifying_key().to_bytes()),
            identity_key,
            created_ms: 1,
        };
        let encoded = certificate.encode();
        let signature = key.sign(&Certificate::signing_input(&encoded));
        let certificate = SignedCertificate::assemble(&encoded, &Signature(signature.to_bytes())).unwrap();
        let mut list = DeviceList {
            username: name.clone(),
            account,
            account_key,
            number: before.map_or(1, |list| list.list().number + 1),
            previous: before.map_or(ListHash([0; 32]), SignedDeviceList::hash),
            devices: before.map_or(Vec::new(), |list| list.list().devices.clone()),
            revocations: Vec::new(),
        };
        list.devices.push(certificate);
        let encoded = list.encode();
        let signature = key.sign(&DeviceList::signing_input(&encoded));
        let list = SignedDeviceList::assemble(&encoded, &Signature(signature.to_bytes())).unwrap();
        Self { name, account, key, device, device_key, identity_key, list }
    }

    pub(crate) fn account(&self) -> AccountId {
        self.account
    }

    /// The request that makes the account, for the connection of `client`.
    fn register(&self, client: &Client, invite: Option<&str>) -> ClientFrame {
        let auth_key = AuthKey(AUTH_KEY);
        let (challenge, exporter) = client.session();
        let list = self.list.hash();
        let input = login::registration(&client.server, &challenge, &exporter, &list, &auth_key);
        ClientFrame::Register(Register {
            invite: invite.map(str::to_owned),
            username: self.name.to_string(),
            auth_key,
            list: self.list.as_bytes().to_vec().into(),
            device: self.device,
            signature: Signature(self.device_key.sign(&input).to_bytes()),
        })
    }

    pub(crate) fn password_login(&self, auth_key: [u8; 32]) -> ClientFrame {
        let auth_key = AuthKey(auth_key);
        ClientFrame::PasswordLogin(PasswordLogin { username: self.name.to_string(), auth_key })
    }

    /// Asks for this device to be approved.
    pub(crate) fn request(&self) -> ClientFrame {
        ClientFrame::RequestDevice(RequestDevice {
            device: self.device,
            device_key: DeviceKey(self.device_key.verifying_key().to_bytes()),
            identity_key: self.identity_key,
        })
    }

    /// Puts the list with this device in the place of the one before.
    pub(crate) fn replace_list(&self) -> ClientFrame {
        let (expected, list) = (self.list.list().previous, self.list.as_bytes().to_vec().into());
        ClientFrame::ReplaceList(ReplaceList { expected, list })
    }

    /// Published keys with numbers in these ranges, and signed ones of number 1.
    pub(crate) fn keys(&self, one_time: Range<u32>, one_time_kem: Range<u32>) -> ClientFrame {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let validity = Validity::from(u64::try_from(now.as_millis()).unwrap());
        let sign = |kind, id, key: &[u8]| {
            let input = signing_input(kind, &self.account, &self.device, id, validity, key);
            Signature(self.device_key.sign(&input).to_bytes())
        };
        let kem = |kind: SignedPrekeyKind, number: u32| {
            let id = PrekeyId(number);
            // The server takes any bytes for a key: it has no code to look into it.
            let bytes: Vec<u8> = number.to_be_bytes().into_iter().cycle().take(KEM_KEY_LENGTH).collect();
            let key = KemKey::from_slice(&bytes).unwrap();
            let signature = sign(kind, id, key.as_bytes());
            KemPrekey { id, validity, key, signature }
        };
        let (id, key) = (PrekeyId(1), PrekeyPublic([1; 32]));
        let signature = sign(SignedPrekeyKind::Curve, id, &key.0);
        let curve = |number: u32| OneTimePrekey {
            id: PrekeyId(number),
            key: PrekeyPublic(seeded(u16::try_from(number).unwrap(), 6)),
        };
        let upload = PrekeyUpload {
            signed: Some(SignedPrekey { id, validity, key, signature }),
            last_resort: Some(kem(SignedPrekeyKind::LastResortKem, 1)),
            one_time: one_time.map(curve).collect(),
            one_time_kem: one_time_kem.map(|number| kem(SignedPrekeyKind::OneTimeKem, number)).collect(),
        };
        ClientFrame::PublishKeys(PublishKeys { upload })
    }

    /// Asks for what a handshake with this person needs.
    pub(crate) fn claim(&self) -> ClientFrame {
        let (account, devices) = (self.account, vec![self.device]);
        ClientFrame::ClaimBundles(ClaimBundles { account, devices, one_time: true })
    }

    fn used(&self) -> UsedList {
        UsedList { account: self.account, number: 1, hash: self.list.hash(), list: None }
    }

    /// One envelope of `n`s.
    pub(crate) fn submit(&self, n: u8, to: &Person) -> ClientFrame {
        let envelope = OutgoingEnvelope {
            account: to.account,
            device: to.device,
            fate_tag: FateTag([n; 16]),
            transient: false,
            envelope: vec![n; 2400].into(),
        };
        ClientFrame::Submit(Submit {
            submission: SubmissionId([n; 16]),
            lists: vec![self.used(), to.used()],
            envelopes: vec![envelope],
        })
    }
}

/// A connection.
pub(crate) struct Client {
    stream: StreamOwned<ClientConnection, TcpStream>,
    decoder: FrameDecoder,
    server: sotto_proto::ServerId,
    welcome: Option<Welcome>,
    incarnation: Option<sotto_proto::Incarnation>,
    pushes: VecDeque<ServerFrame>,
    request: u32,
}

impl Client {
    /// Connects, and checks the chain as a client must.
    pub(crate) fn connect(server: &Address) -> Self {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
            .with_no_client_auth();
        config.alpn_protocols = vec![b"sotto/1".to_vec()];
        let name = ServerName::try_from("sotto").unwrap();
        let tls = ClientConnection::new(Arc::new(config), name).unwrap();
        let tcp = TcpStream::connect(server.host_port()).unwrap();
        tcp.set_read_timeout(Some(PATIENCE)).unwrap();
        tcp.set_nodelay(true).unwrap();
        let mut client = Self {
            stream: StreamOwned::new(tls, tcp),
            decoder: FrameDecoder::new(MAX_FRAME),
            server: sotto_proto::ServerId([0; 32]),
            welcome: None,
            incarnation: None,
            pushes: VecDeque::new(),
            request: 0,
        };
        let Some(ServerFrame::Chain(chain)) = client.next() else { panic!("the chain comes first") };
        let certificate = client.stream.conn.peer_certificates().unwrap()[0].to_vec();
        assert!(
            certificate.windows(chain.first.len()).any(|window| window == chain.first),
            "the chain ends in the key of this session"
        );
        assert_eq!(Some(chain.newest().0), server.fingerprint);
        client.server = chain.server_id();
        client
    }

    /// Connects, and says Hello.
    pub(crate) fn hello(&mut self) {
        let hello = Hello { versions: VersionRange::OURS, software: "test".to_owned() };
        let ServerFrame::Welcome(welcome) = self.ask(&ClientFrame::Hello(hello)) else {
            panic!("no welcome")
        };
        self.welcome = Some(welcome);
    }

    /// Registers a person, and signs in.
    pub(crate) fn online(server: &Address, person: &Person) -> Self {
        let mut client = Self::connect(server);
        client.hello();
        assert_eq!(client.register(person, None), ServerFrame::Done);
        client.sign_in(person);
        client
    }

    /// Connects, and signs in.
    pub(crate) fn signed_in(server: &Address, person: &Person) -> Self {
        let mut client = Self::connect(server);
        client.hello();
        client.sign_in(person);
        client
    }

    /// What comes of a Register.
    pub(crate) fn register(&mut self, person: &Person, invite: Option<&str>) -> ServerFrame {
        let register = person.register(self, invite);
        self.ask(&register)
    }

    /// Signs in on a connection that has said Hello.
    pub(crate) fn sign_in(&mut self, person: &Person) {
        let ServerFrame::DeviceIn(device_in) = self.try_sign_in(person) else { panic!("not signed in") };
        self.incarnation = Some(device_in.mailbox.incarnation);
    }

    /// The server's challenge and the TLS exporter, which every signature covers.
    fn session(&self) -> ([u8; 32], [u8; 32]) {
        let exporter = self.stream.conn.export_keying_material([0; 32], login::EXPORTER_LABEL, None).unwrap();
        (self.welcome.as_ref().unwrap().challenge, exporter)
    }

    /// What comes of a DeviceLogin.
    pub(crate) fn try_sign_in(&mut self, person: &Person) -> ServerFrame {
        let (challenge, exporter) = self.session();
        let input = login::device_login(&self.server, &challenge, &exporter);
        let login = DeviceLogin {
            account: person.account,
            device: person.device,
            signature: Signature(person.device_key.sign(&input).to_bytes()),
            interactive: true,
        };
        self.ask(&ClientFrame::DeviceLogin(login))
    }

    /// A connection that has said Hello.
    pub(crate) fn greeted(server: &Address) -> Self {
        let mut client = Self::connect(server);
        client.hello();
        client
    }

    pub(crate) fn server(&self) -> sotto_proto::ServerId {
        self.server
    }

    /// Of the mailbox.
    pub(crate) fn incarnation(&self) -> sotto_proto::Incarnation {
        self.incarnation.unwrap()
    }

    /// Starts delivery from the beginning.
    pub(crate) fn attach(&mut self) {
        let attach = Attach { incarnation: self.incarnation.unwrap(), after: QueueNumber(0) };
        assert_eq!(self.ask(&ClientFrame::Attach(attach)), ServerFrame::Done);
    }

    /// Sends bytes as they are.
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
        self.stream.flush().unwrap();
    }

    /// Sends a request and waits for its answer; pushes are kept.
    pub(crate) fn ask(&mut self, frame: &ClientFrame) -> ServerFrame {
        self.request += 1;
        self.write(&frame.encode(self.request).unwrap());
        loop {
            let (request, frame) = self.read().expect("an answer");
            if request == self.request {
                return frame;
            }
            self.pushes.push_back(frame);
        }
    }

    /// The next push, `None` when the server has closed.
    pub(crate) fn next(&mut self) -> Option<ServerFrame> {
        self.pushes.pop_front().or_else(|| self.read().map(|(_, frame)| frame))
    }

    /// The next delivery.
    pub(crate) fn delivery(&mut self) -> Deliver {
        loop {
            if let ServerFrame::Deliver(deliver) = self.next().expect("a delivery") {
                return deliver;
            }
        }
    }

    /// Everything up to Drained.
    pub(crate) fn until_drained(&mut self) -> Vec<Deliver> {
        let mut deliveries = Vec::new();
        loop {
            match self.next().expect("Drained") {
                ServerFrame::Deliver(deliver) => deliveries.push(deliver),
                ServerFrame::Drained(_) => return deliveries,
                _ => {}
            }
        }
    }

    fn read(&mut self) -> Option<(u32, ServerFrame)> {
        loop {
            if let Some(raw) = self.decoder.next_frame().unwrap() {
                return Some((raw.request, ServerFrame::decode(raw.kind, &raw.payload).unwrap().unwrap()));
            }
            let mut buffer = [0; 4096];
            match self.stream.read(&mut buffer) {
                Ok(0) => return None,
                Ok(read) => self.decoder.push(&buffer[..read]),
                Err(error) => panic!("the connection broke instead of ending: {error}"),
            }
        }
    }
}
