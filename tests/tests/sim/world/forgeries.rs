//! What an account signs that it should not, and what a stranger makes.

use std::sync::Arc;

use sotto_client::store::StoreError;
use sotto_crypto::{AccountSecret, DeviceSecret, Pair, PeerSessions, Purpose};
use sotto_proto::{
    AccountId, Certificate, DeviceId, Envelope, FateTag, ListHash, MessageId, SignedCertificate,
    SignedDeviceList, SubmissionId,
    content::{Content, ListRef, Place, kind},
    frame::{ClientFrame, OutgoingEnvelope, Submit, UsedList},
    limits::MAX_GENERATION,
};
use sotto_store::Store;

use super::{World, server::wait};

impl World {
    /// A list of an account's own signing in which its first device has another certificate.
    pub(crate) fn recertified(&mut self, account: usize) -> SignedDeviceList {
        let known = &self.accounts[account];
        let mut list = known.list.list().clone();
        let mut certificate = list.devices[0].certificate().clone();
        certificate.created_ms += 1;
        list.devices[0] = known.secret.sign_certificate(&certificate).unwrap();
        list.previous = known.list.hash();
        list.number += 1;
        known.secret.sign_device_list(&list).unwrap()
    }

    /// A list under another's name that an account has signed with its own key and id.
    pub(crate) fn list_under(&mut self, account: usize, name: &str) -> SignedDeviceList {
        let known = &self.accounts[account];
        let mut list = known.list.list().clone();
        list.username = name.parse().unwrap();
        let mut certificate = list.devices[0].certificate().clone();
        certificate.username = list.username.clone();
        list.devices[0] = known.secret.sign_certificate(&certificate).unwrap();
        known.secret.sign_device_list(&list).unwrap()
    }

    /// Somebody registered writes to a device under another's name, with a certificate that only they have signed.
    pub(crate) fn impostor(&mut self, name: &str, account: Option<AccountId>, to: usize, text: &str) {
        let mallory = match self.accounts.iter().position(|account| account.name.as_str() == "mallory") {
            Some(known) => self.devices.iter().position(|device| device.account == known).unwrap(),
            None => self.person("mallory"),
        };
        let account = account.unwrap_or_else(|| AccountId(self.random()));
        let secret = AccountSecret::generate(&mut self.rng);
        let device = Arc::new(DeviceSecret::generate(&mut self.rng));
        let mine = secret
            .sign_certificate(&Certificate {
                username: name.parse().unwrap(),
                account,
                account_key: secret.public(),
                device: DeviceId(self.random()),
                device_key: device.device_key(),
                identity_key: device.identity_key(),
                created_ms: self.now_ms,
            })
            .unwrap();
        let forged = self.forge(&device, &mine, &PeerSessions::new(), to, text);
        self.slip_in(mallory, to, &forged);
    }

    /// Somebody who has stolen all private keys of a device writes to it as `under`, in a session of the highest generation. What they
    /// compute from the one side's keys is computed here from the other's: it is the same.
    #[allow(
        clippy::redundant_closure_for_method_calls,
        reason = "the method itself is not general enough over the lifetime"
    )]
    pub(crate) fn plant_session(&mut self, thief: usize, under: usize, at: usize, text: &str) {
        let stolen: Result<_, StoreError> = self.devices[under].store.transaction(|tx| tx.identity());
        let stolen = stolen.unwrap().unwrap();
        let device = Arc::new(DeviceSecret::from_bytes(&stolen.device_secret).unwrap());
        // No session, and the last generation but one.
        let record = [&[1][..], &(MAX_GENERATION - 1).to_be_bytes(), &[0; 12]].concat();
        let forged =
            self.forge(&device, &stolen.certificate, &PeerSessions::from_bytes(&record).unwrap(), at, text);
        self.slip_in(thief, at, &forged);
    }

    /// An envelope with a text for a device, sealed under a certificate in a new session.
    fn forge(
        &mut self,
        device: &Arc<DeviceSecret>,
        mine: &SignedCertificate,
        sessions: &PeerSessions,
        to: usize,
        text: &str,
    ) -> Envelope {
        let recipient = self.devices[to].id;
        let list = self.accounts[self.devices[to].account].list.clone();
        let pair = Pair::new(device, mine, list.list().device(&recipient).unwrap()).unwrap();
        let bundle =
            wait(self.store.claim_prekeys(vec![recipient], true, self.now_ms)).unwrap().remove(0).unwrap();
        let none = ListRef { number: 0, hash: ListHash([0; 32]) };
        let content = Content {
            message: MessageId(self.random()),
            clock_ms: self.now_ms,
            place: Place::Account(list.list().account),
            sender_list: none,
            recipient_list: none,
            kind: kind::TEXT,
            body: text.as_bytes().to_vec(),
        };
        let purpose = Purpose::Message;
        sessions
            .start(&mut self.rng, &pair, &bundle, purpose, self.now_ms)
            .unwrap()
            .seal(&mut self.rng, &pair, &content.encode().unwrap(), purpose, self.now_ms)
            .unwrap()
            .envelope
    }

    /// A registered person submits an envelope that somebody else seems to have sealed.
    fn slip_in(&mut self, mallory: usize, to: usize, envelope: &Envelope) {
        let list = self.accounts[self.devices[to].account].list.clone();
        let used = |list: &SignedDeviceList| UsedList {
            account: list.list().account,
            number: list.list().number,
            hash: list.hash(),
            list: None,
        };
        let submit = Submit {
            submission: SubmissionId(self.random()),
            lists: vec![used(&list), used(&self.accounts[self.devices[mallory].account].list)],
            envelopes: vec![OutgoingEnvelope {
                account: list.list().account,
                device: self.devices[to].id,
                fate_tag: FateTag(self.random()),
                transient: false,
                envelope: envelope.encode().into(),
            }],
        };
        let connection = self.devices[mallory].connection.unwrap();
        let stored = wait(self.store.usage()).unwrap().envelopes;
        self.disconnect(to);
        self.to_server.push_back((connection, 1_000_000, ClientFrame::Submit(submit)));
        self.settle();
        assert_eq!(wait(self.store.usage()).unwrap().envelopes, stored + 1, "the server took it");
    }
}
