//! Accounts and their devices.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use sotto_client::store::{Identity, LocalStore, ServerPin};
use sotto_crypto::{AccountSecret, DeviceSecret, PendingCode};
use sotto_proto::{
    AccountId, Certificate, DeviceId, DeviceList, ListHash, SignedCertificate, SignedDeviceList, Username,
    VersionRange,
    device_list::Revocation,
    frame::{
        AuthKey, ClientFrame, FrameDecoder, Hello, PasswordLogin, Register, RequestDevice, ResetAccount,
    },
    limits::MAX_FRAME,
};
use sotto_server::core::Input as ServerInput;
use sotto_store::Store;

use super::{EXPORTER, World, device::Device, server::wait};

/// An account: its secret stands here because the simulation plays the person who holds the recovery phrase.
pub(crate) struct Account {
    pub(crate) name: Username,
    pub(crate) id: AccountId,
    pub(crate) secret: AccountSecret,
    /// What it registered with.
    pub(super) first: SignedDeviceList,
    /// Of the device in that list.
    pub(super) first_device: Arc<DeviceSecret>,
    /// The newest.
    pub(crate) list: SignedDeviceList,
}

/// What profiles hold that proves their account.
#[derive(Clone, Copy)]
pub(crate) struct Held {
    pub(crate) account_key: bool,
    pub(crate) auth_key: bool,
}

/// The key of everybody's password.
pub(crate) const PASSWORD: AuthKey = AuthKey([7; 32]);

/// A machine that waits to be added to an account.
pub(crate) struct Stranger {
    pub(crate) id: DeviceId,
    secret: DeviceSecret,
    pub(crate) code: PendingCode,
}

impl Account {
    /// The bytes of the list that it registered with.
    pub(crate) fn first_list(&self) -> Vec<u8> {
        self.first.as_bytes().to_vec()
    }
}

impl World {
    /// An account with its first device, registered and connected.
    pub(crate) fn person(&mut self, name: &str) -> usize {
        let (id, device_id) = (AccountId(self.random()), DeviceId(self.random()));
        self.enrol(name.parse().unwrap(), id, device_id)
    }

    /// Somebody who takes the name and the ids of a device's account, with keys of their own, at a server that lost it.
    pub(crate) fn usurper(&mut self, index: usize) -> usize {
        let (account, device_id) = (self.devices[index].account, self.devices[index].id);
        let (name, id) = (self.accounts[account].name.clone(), self.accounts[account].id);
        self.enrol(name, id, device_id)
    }

    fn enrol(&mut self, name: Username, id: AccountId, device_id: DeviceId) -> usize {
        let secret = AccountSecret::generate(&mut self.rng);
        let device = Arc::new(DeviceSecret::generate(&mut self.rng));
        let certificate = secret
            .sign_certificate(&Certificate {
                username: name.clone(),
                account: id,
                account_key: secret.public(),
                device: device_id,
                device_key: device.device_key(),
                identity_key: device.identity_key(),
                created_ms: self.now_ms,
            })
            .unwrap();
        let list = secret
            .sign_device_list(&DeviceList {
                username: name.clone(),
                account: id,
                account_key: secret.public(),
                number: self.now_ms / 1000,
                previous: ListHash([0; 32]),
                devices: vec![certificate.clone()],
                revocations: Vec::new(),
            })
            .unwrap();
        self.register(&list, &device);
        let first_device = Arc::clone(&device);
        self.accounts.push(Account { name, id, secret, first: list.clone(), first_device, list });
        self.add_device(self.accounts.len() - 1, &device, device_id, certificate)
    }

    /// Registers an account with a list that has one device.
    pub(super) fn register(&mut self, list: &SignedDeviceList, secret: &DeviceSecret) {
        let name = &list.list().username;
        let challenge = self.random();
        let connection = self.connect_with(challenge);
        let server = self.chain.server_id();
        let register = Register {
            invite: None,
            username: name.to_string(),
            auth_key: PASSWORD,
            list: list.as_bytes().to_vec().into(),
            device: list.list().devices[0].certificate().device,
            signature: secret.sign_registration(&server, &challenge, &EXPORTER, &list.hash(), &PASSWORD),
        };
        let hello = Hello { versions: VersionRange::OURS, software: "simulation".to_owned() };
        self.to_server.push_back((connection, 1, ClientFrame::Hello(hello)));
        self.to_server.push_back((connection, 2, ClientFrame::Register(register)));
        self.settle();
        self.server_input(ServerInput::Disconnected { connection });
        assert!(
            wait(self.store.account_by_name(name)).unwrap().is_some(),
            "{name} could not register with the simulated server"
        );
    }

    /// A second machine of an account, added by the recovery phrase; `revoke` is taken out in the same list.
    pub(crate) fn second_device(&mut self, account: usize, revoke: Option<DeviceId>) -> usize {
        let device = DeviceSecret::generate(&mut self.rng);
        let device_id = DeviceId(self.random());
        let now_ms = self.now_ms;
        let known = &mut self.accounts[account];
        let certificate = known
            .secret
            .sign_certificate(&Certificate {
                username: known.name.clone(),
                account: known.id,
                account_key: known.secret.public(),
                device: device_id,
                device_key: device.device_key(),
                identity_key: device.identity_key(),
                created_ms: now_ms,
            })
            .unwrap();
        let mut list = known.list.list().clone();
        list.previous = known.list.hash();
        list.number = DeviceList::next_number(list.number, now_ms / 1000);
        list.devices.retain(|signed| Some(signed.certificate().device) != revoke);
        list.devices.push(certificate.clone());
        if let Some(device) = revoke {
            list.revocations.push(Revocation { device, revoked_ms: now_ms });
        }
        known.list = known.secret.sign_device_list(&list).unwrap();
        self.put_list(account);
        self.add_device(account, &device, device_id, certificate)
    }

    /// A machine that has only the password of an account asks to be added; it shows the code.
    pub(crate) fn waiting_device(&mut self, account: usize) -> Stranger {
        self.waiting_device_with(account, PASSWORD)
    }

    pub(crate) fn waiting_device_with(&mut self, account: usize, auth_key: AuthKey) -> Stranger {
        let stranger = self.ask_to_join(account, auth_key);
        self.settle();
        stranger
    }

    /// The same, while the world goes on as it does: the server has not read it yet.
    pub(crate) fn ask_to_join(&mut self, account: usize, auth_key: AuthKey) -> Stranger {
        let secret = DeviceSecret::generate(&mut self.rng);
        let id = DeviceId(self.random());
        let known = &self.accounts[account];
        let (device_key, identity_key) = (secret.device_key(), secret.identity_key());
        let code = PendingCode::of(&known.id, &known.secret.public(), &id, &device_key, &identity_key);
        let login = PasswordLogin { username: known.name.to_string(), auth_key };
        let request = RequestDevice { device: id, device_key, identity_key };
        self.ask_by_password(login, ClientFrame::RequestDevice(request));
        Stranger { id, secret, code }
    }

    /// Somebody who knows an account's password, and has none of its keys, asks for a new identity of it.
    pub(crate) fn ask_for_new_identity(&mut self, account: usize) {
        let (secret, device) =
            (AccountSecret::generate(&mut self.rng), DeviceSecret::generate(&mut self.rng));
        let (id, device_id) = (AccountId(self.random()), DeviceId(self.random()));
        let username = self.accounts[account].name.clone();
        let login = PasswordLogin { username: username.to_string(), auth_key: PASSWORD };
        let certificate = secret
            .sign_certificate(&Certificate {
                username: username.clone(),
                account: id,
                account_key: secret.public(),
                device: device_id,
                device_key: device.device_key(),
                identity_key: device.identity_key(),
                created_ms: self.now_ms,
            })
            .unwrap();
        let list = DeviceList {
            username,
            account: id,
            account_key: secret.public(),
            number: self.now_ms / 1000,
            previous: ListHash([0; 32]),
            devices: vec![certificate],
            revocations: Vec::new(),
        };
        let list = secret.sign_device_list(&list).unwrap().as_bytes().to_vec().into();
        self.ask_by_password(login, ClientFrame::ResetAccount(ResetAccount { list }));
        self.settle();
    }

    fn ask_by_password(&mut self, login: PasswordLogin, frame: ClientFrame) {
        let connection = self.connect_server();
        let hello = Hello { versions: VersionRange::OURS, software: "simulation".to_owned() };
        for (number, frame) in
            [(1, ClientFrame::Hello(hello)), (2, ClientFrame::PasswordLogin(login)), (3, frame)]
        {
            self.to_server.push_back((connection, number, frame));
        }
    }

    /// A machine that was approved finishes its profile with what the server has in its account's list; `None` if it is
    /// not in there.
    pub(crate) fn approved(&mut self, account: usize, stranger: &Stranger) -> Option<usize> {
        let index = self.finish_joining(account, stranger)?;
        self.begin(index);
        Some(index)
    }

    /// The same, without starting it.
    pub(crate) fn finish_joining(&mut self, account: usize, stranger: &Stranger) -> Option<usize> {
        if !self.devices_served(account).contains(&stranger.id) {
            return None;
        }
        let list = self.served_list(account);
        let certificate = list.list().device(&stranger.id)?.clone();
        self.accounts[account].list = list;
        // Nobody gave it the account's key.
        let held = std::mem::replace(&mut self.held, Held { account_key: false, auth_key: true });
        let index = self.install(account, &stranger.secret, stranger.id, certificate);
        self.held = held;
        Some(index)
    }

    /// The devices in the list that the server has of an account.
    pub(crate) fn devices_served(&self, account: usize) -> Vec<DeviceId> {
        wait(self.store.account(self.accounts[account].id)).unwrap().unwrap().devices
    }

    /// The device list that the server has of an account.
    fn served_list(&self, account: usize) -> SignedDeviceList {
        let record = wait(self.store.account(self.accounts[account].id)).unwrap().unwrap();
        SignedDeviceList::parse(&record.list).unwrap()
    }

    /// Whom the server's store says that an account blocks.
    pub(crate) fn blocked_by(&self, account: usize) -> Vec<AccountId> {
        wait(self.store.account(self.accounts[account].id)).unwrap().unwrap().blocked
    }

    /// An account whose device has not been there yet since it registered, so that it has published no keys.
    pub(crate) fn person_without_keys(&mut self, name: &str) -> usize {
        self.absent = true;
        let index = self.person(name);
        self.absent = false;
        index
    }

    /// The same of a second machine of an account.
    pub(crate) fn second_device_without_keys(&mut self, account: usize, revoke: Option<DeviceId>) -> usize {
        self.absent = true;
        let index = self.second_device(account, revoke);
        self.absent = false;
        index
    }

    /// Puts an account's newest list into the server's store, as its ReplaceList would.
    pub(super) fn put_list(&mut self, account: usize) {
        let known = &self.accounts[account];
        let record = wait(self.store.account(known.id)).unwrap().unwrap();
        let mut new = record.clone();
        new.list = known.list.as_bytes().to_vec();
        new.devices = known.list.list().devices.iter().map(|signed| signed.certificate().device).collect();
        wait(self.store.replace_account(&record, new)).unwrap();
        // The server caches accounts; as after any restart, it reads them again.
        self.crash_server();
        self.start_server();
    }

    pub(super) fn add_device(
        &mut self,
        account: usize,
        secret: &DeviceSecret,
        id: DeviceId,
        certificate: SignedCertificate,
    ) -> usize {
        let index = self.install(account, secret, id, certificate);
        self.begin(index);
        index
    }

    fn begin(&mut self, index: usize) {
        self.start(index);
        if !self.absent {
            self.connect(index);
        }
        self.settle();
    }

    /// A profile that has not been started.
    fn install(
        &mut self,
        account: usize,
        secret: &DeviceSecret,
        id: DeviceId,
        certificate: SignedCertificate,
    ) -> usize {
        let mut store = LocalStore::in_memory().unwrap();
        let (known, held) = (&self.accounts[account], self.held);
        let (chain, (newest, number)) = (&self.chain, self.chain.newest());
        store
            .transaction(|tx| {
                tx.save_identity(&Identity {
                    username: known.name.clone(),
                    account: known.id,
                    account_key: known.secret.public(),
                    account_seed: held.account_key.then(|| known.secret.seed()),
                    device: id,
                    device_secret: secret.to_bytes(),
                    certificate,
                    registered: true,
                })?;
                tx.pin(&known.list, true)?;
                if held.auth_key {
                    tx.set_auth_key(&chain.server_id(), &PASSWORD)?;
                }
                tx.set_server(&ServerPin {
                    address: "localhost".parse().unwrap(),
                    server_id: chain.server_id(),
                    newest,
                    number,
                })
            })
            .unwrap();
        self.devices.push(Device {
            account,
            id,
            store,
            core: None,
            connection: None,
            inbox: VecDeque::new(),
            decoder: FrameDecoder::new(MAX_FRAME),
            commands: 0,
            replies: BTreeMap::new(),
            events: Vec::new(),
            asked: Vec::new(),
            closed: None,
            wake_ms: None,
            skew_ms: 0,
            heard_ms: self.now_ms,
            silences: Vec::new(),
            fates_told_ms: Vec::new(),
            password_changed: None,
        });
        self.devices.len() - 1
    }
}
