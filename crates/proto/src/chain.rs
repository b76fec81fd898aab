//! The server's key chain: the first TLS key it ever had, then each successor with its predecessor's signature.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::{
    ids::ServerId,
    keys::{BadSignature, Signature, verify_spki},
    limits::MAX_CHAIN,
    wire::labelled,
};

/// SHA-256 of a DER SubjectPublicKeyInfo.
pub fn fingerprint(spki: &[u8]) -> [u8; 32] {
    Sha256::digest(spki).into()
}

/// `"sotto v1 successor" || old || new || number`, signed by the old key; `old` and `new` are DER
/// SubjectPublicKeyInfo, `number` counts from 1.
pub fn successor_input(old: &[u8], new: &[u8], number: u64) -> Vec<u8> {
    labelled("sotto v1 successor", &[old, new, &number.to_be_bytes()])
}

/// A key that took its predecessor's place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Successor {
    /// The new key, DER SubjectPublicKeyInfo.
    #[serde(with = "serde_bytes")]
    pub spki: Vec<u8>,
    /// The old key's signature over [`successor_input`].
    pub signature: Signature,
}

/// The chain as sent: the first key, then the successors in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyChain {
    /// The first key, DER SubjectPublicKeyInfo; its fingerprint is the server id.
    #[serde(with = "serde_bytes")]
    pub first: Vec<u8>,
    /// What followed.
    pub successors: Vec<Successor>,
}

/// What a server showed, and why that will not do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ChainError {
    /// A successor is not signed by its predecessor.
    #[error("a key in the server's chain is not signed by the key before it")]
    Signature(#[from] BadSignature),
    /// The chain does not end in the key that the TLS session was made with.
    #[error("the server's chain does not lead to the key it connected with")]
    NotThisSession,
    /// More links than any honest server has.
    #[error("the server's chain is too long")]
    TooLong,
}

impl KeyChain {
    /// Verifies every link, and that the chain ends in the key of this TLS session.
    pub fn verify(&self, session_spki: &[u8]) -> Result<(), ChainError> {
        if self.successors.len() > MAX_CHAIN {
            return Err(ChainError::TooLong);
        }
        let mut old = &self.first;
        for (number, successor) in (1u64..).zip(&self.successors) {
            verify_spki(old, &successor_input(old, &successor.spki, number), &successor.signature)?;
            old = &successor.spki;
        }
        if old == session_spki { Ok(()) } else { Err(ChainError::NotThisSession) }
    }

    /// The head's fingerprint.
    pub fn server_id(&self) -> ServerId {
        ServerId(fingerprint(&self.first))
    }

    /// The newest key's fingerprint and its number (0 for the first key).
    pub fn newest(&self) -> ([u8; 32], u64) {
        let newest = self.successors.last().map_or(&self.first, |successor| &successor.spki);
        (fingerprint(newest), u64::try_from(self.successors.len()).unwrap_or(u64::MAX))
    }

    /// The number of the key with this fingerprint, if it stands in the chain.
    pub fn position(&self, wanted: &[u8; 32]) -> Option<u64> {
        std::iter::once(&self.first)
            .chain(self.successors.iter().map(|successor| &successor.spki))
            .zip(0u64..)
            .find(|(spki, _)| fingerprint(spki) == *wanted)
            .map(|(_, number)| number)
    }
}
