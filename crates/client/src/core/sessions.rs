//! The sessions with remote devices, between the store and `sotto-crypto`. Kept in memory while they are in use, and
//! written once at the end of each batch, in the transaction that everything else of the batch is in.

use std::{collections::BTreeMap, sync::Arc};

use sotto_crypto::{
    DeviceSecret, KemPrekeySecret, KemUse, OneTimePrekeySecret, Pair, PairError, PeerSessions, PrekeySource,
    SignedPrekeySecret, SourceFailed,
};
use sotto_proto::{AccountId, DeviceId, SignedCertificate, prekey::PrekeyId, wire::WireError};
use zeroize::Zeroizing;

use crate::store::{PrekeySlot, StoreError, Tx};

/// Remote devices whose sessions and static Diffie-Hellman results stay in memory: more than anybody writes with at a
/// time, and about 2 MiB of ordinary sessions.
const KEPT: usize = 512;

struct Peer {
    sessions: PeerSessions,
    changed: bool,
}

/// The sessions in memory.
#[derive(Default)]
pub(crate) struct Sessions {
    peers: BTreeMap<(AccountId, DeviceId), Peer>,
    /// By hash of the remote certificate.
    pairs: BTreeMap<[u8; 32], Arc<Pair>>,
}

impl Sessions {
    /// The sessions with a device.
    pub(crate) fn with(
        &mut self,
        tx: &Tx<'_>,
        account: AccountId,
        device: DeviceId,
    ) -> Result<&PeerSessions, StoreError> {
        use std::collections::btree_map::Entry;
        let peer = match self.peers.entry((account, device)) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(free) => {
                let sessions = match tx.sessions(&account, &device)? {
                    None => PeerSessions::new(),
                    Some(bytes) => PeerSessions::from_bytes(&bytes)?,
                };
                free.insert(Peer { sessions, changed: false })
            }
        };
        Ok(&peer.sessions)
    }

    /// The sessions with a device have moved on.
    pub(crate) fn replace(&mut self, account: AccountId, device: DeviceId, sessions: PeerSessions) {
        self.peers.insert((account, device), Peer { sessions, changed: true });
    }

    /// Forgets what is in memory of an account; the caller forgets what is in the store.
    pub(crate) fn forget(&mut self, account: &AccountId) {
        self.peers.retain(|(known, _), _| known != account);
    }

    /// The static part of what this device has in common with another.
    pub(crate) fn pair(
        &mut self,
        me: &Arc<DeviceSecret>,
        mine: &SignedCertificate,
        theirs: &SignedCertificate,
    ) -> Result<Arc<Pair>, PairError> {
        let hash = theirs.hash();
        if let Some(pair) = self.pairs.get(&hash) {
            return Ok(Arc::clone(pair));
        }
        let pair = Arc::new(Pair::new(me, mine, theirs)?);
        if self.pairs.len() >= KEPT {
            self.pairs.clear();
        }
        self.pairs.insert(hash, Arc::clone(&pair));
        Ok(pair)
    }

    /// Writes what has changed.
    pub(crate) fn save(&mut self, tx: &Tx<'_>) -> Result<(), StoreError> {
        for ((account, device), peer) in &mut self.peers {
            if peer.changed {
                tx.save_sessions(account, device, &peer.sessions.to_bytes())?;
                peer.changed = false;
            }
        }
        if self.peers.len() > KEPT {
            self.peers.clear();
        }
        Ok(())
    }
}

/// The private prekeys in the store.
pub(crate) struct OwnPrekeys<'s, 't>(pub(crate) &'s Tx<'t>);

impl OwnPrekeys<'_, '_> {
    fn read<T>(
        &self,
        slot: PrekeySlot,
        id: PrekeyId,
        parse: impl Fn(&[u8]) -> Result<T, WireError>,
    ) -> Result<Option<T>, SourceFailed> {
        let failed = |error: StoreError| SourceFailed(Box::new(error));
        let bytes: Option<Zeroizing<Vec<u8>>> = self.0.prekey(slot, id).map_err(failed)?;
        bytes.map(|bytes| parse(&bytes).map_err(|error| failed(error.into()))).transpose()
    }
}

impl PrekeySource for OwnPrekeys<'_, '_> {
    fn signed(&self, id: PrekeyId) -> Result<Option<SignedPrekeySecret>, SourceFailed> {
        self.read(PrekeySlot::Signed, id, SignedPrekeySecret::from_bytes)
    }

    fn one_time(&self, id: PrekeyId) -> Result<Option<OneTimePrekeySecret>, SourceFailed> {
        self.read(PrekeySlot::OneTime, id, OneTimePrekeySecret::from_bytes)
    }

    fn kem(&self, kem_use: KemUse, id: PrekeyId) -> Result<Option<KemPrekeySecret>, SourceFailed> {
        let slot = match kem_use {
            KemUse::LastResort => PrekeySlot::LastResort,
            KemUse::OneTime => PrekeySlot::OneTimeKem,
        };
        self.read(slot, id, KemPrekeySecret::from_bytes)
    }
}
