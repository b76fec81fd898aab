//! Two devices over a network that loses, reorders, doubles and forges.

use rand::{SeedableRng, rngs::StdRng};
use sotto_proto::Envelope;

use super::device::Device;
use crate::{
    BundleRequest, OpenError, Opened, Pair, PeerSessions, Purpose, Sealed, SealedBody, UnsealError,
    open_sender,
};

/// One end of a conversation.
pub(crate) struct End {
    pub(crate) device: Device,
    pub(crate) pair: Pair,
    pub(crate) sessions: PeerSessions,
}

pub(crate) fn ends(rng: &mut StdRng, now_ms: u64) -> (End, End) {
    let a = Device::new(rng, "alice", now_ms);
    let b = Device::new(rng, "bob", now_ms);
    let (to_b, to_a) = (a.pair_with(&b.certificate), b.pair_with(&a.certificate));
    (
        End { device: a, pair: to_b, sessions: PeerSessions::new() },
        End { device: b, pair: to_a, sessions: PeerSessions::new() },
    )
}

impl End {
    /// Puts the sessions through the store.
    pub(crate) fn store(&mut self, next: &PeerSessions) {
        let bytes = next.to_bytes();
        self.sessions = PeerSessions::from_bytes(&bytes).unwrap();
        assert_eq!(*self.sessions.to_bytes(), *bytes);
    }

    pub(crate) fn send(
        &mut self,
        rng: &mut StdRng,
        peer: &mut Device,
        content: &[u8],
        purpose: Purpose<'_>,
        now_ms: u64,
    ) -> Sealed {
        if let Some(BundleRequest { one_time }) = self.sessions.needs_bundle(purpose, now_ms) {
            let bundle = peer.bundle(rng, one_time, now_ms);
            let next = self.sessions.start(rng, &self.pair, &bundle, purpose, now_ms).unwrap();
            self.store(&next);
        }
        let sealed = self.sessions.seal(rng, &self.pair, content, purpose, now_ms).unwrap();
        self.store(&sealed.next);
        sealed
    }

    /// The body in an envelope.
    pub(crate) fn body(&self, envelope: &Envelope) -> Result<SealedBody, UnsealError> {
        let envelope = Envelope::parse(&envelope.encode()).unwrap();
        open_sender(&self.device.secret, &envelope)?.open_body(&self.pair)
    }

    /// Opens a body without keeping anything.
    pub(crate) fn try_open(&self, body: &SealedBody, now_ms: u64) -> Result<Opened, OpenError> {
        self.sessions.open(&self.pair, body, &self.device.prekeys, now_ms)
    }

    /// Opens an envelope that must open, and keeps the next state.
    pub(crate) fn take(&mut self, envelope: &Envelope, now_ms: u64) -> Vec<u8> {
        self.receive(envelope, now_ms).unwrap().unwrap().content.to_vec()
    }

    pub(crate) fn receive(
        &mut self,
        envelope: &Envelope,
        now_ms: u64,
    ) -> Result<Result<Opened, OpenError>, UnsealError> {
        let opened = self.try_open(&self.body(envelope)?, now_ms);
        match &opened {
            Ok(opened) => {
                self.device.prekeys.consume(&opened.consumed);
                self.store(&opened.next);
            }
            Err(OpenError::MissingPrekey { next }) => self.store(next),
            Err(_) => {}
        }
        Ok(opened)
    }
}

#[test]
fn a_conversation_back_and_forth() {
    let mut rng = StdRng::seed_from_u64(1);
    let (mut a, mut b) = ends(&mut rng, 1_000);
    for round in 0u32..200 {
        let text = round.to_be_bytes();
        let sealed = a.send(&mut rng, &mut b.device, &text, Purpose::Message, 1_000);
        let opened = b.receive(&sealed.envelope, 1_000).unwrap().unwrap();
        assert_eq!(*opened.content, text);
        assert_eq!(opened.session, sealed.session);
        let sealed = b.send(&mut rng, &mut a.device, &text, Purpose::Message, 1_000);
        assert_eq!(a.take(&sealed.envelope, 1_000), text);
    }
    assert_eq!(a.sessions.sessions().count(), 1);
    assert_eq!(b.sessions.sessions().count(), 1);
}
