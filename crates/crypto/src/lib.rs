//! The end-to-end cryptography of Sotto: identities, prekeys, the PQXDH handshake, the Double Ratchet with ML-KEM
//! healing, the sealed envelope, safety numbers, the recovery phrase and the vault key.
//!
//! This crate is pure: it does no IO, reads no clock and owns no randomness. Randomness is an argument
//! (`&mut impl CryptoRng`), time is Unix milliseconds. What changes state takes the state by reference and returns
//! the next one, so a caller persists the next state and then lets the bytes leave, and a forged message changes
//! nothing. The byte layouts are specified in `docs/spec/crypto.md`.
//!
//! # From an envelope to content
//! ```text
//! Envelope::parse(bytes)            proto: the outer form
//! open_sender(&device, envelope)    part 1: whose certificate (not yet authenticated)
//! Pair::new(&device, mine, theirs)  once per remote device; cache it
//! opening.open_body(&pair)          part 2: what fails here is nobody's
//! sessions.open(&pair, …)           handshake and ratchet: what fails here is a row and a re-send request
//! ```
//! and back: [`PeerSessions::needs_bundle`], [`PeerSessions::start`], [`PeerSessions::seal`].
//!
//! Secrets have neither `Clone`, `Debug`, `Display` nor `Serialize`, and are wiped when dropped.

mod account;
mod aead;
mod auth_key;
mod chain_key;
mod curve;
mod device;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod handshake;
mod header;
mod kdf;
mod kem;
mod message_key;
mod padding;
mod pair;
mod passphrase;
mod peer_sessions;
mod pending_code;
mod pqxdh;
mod prekeys;
mod ratchet;
mod receiving_chain;
mod recovery;
mod root_key;
mod safety_number;
mod seal;
mod secret;
mod secret_writer;
mod sending_chain;
mod session;
mod skipped;
mod vault;
#[doc(hidden)]
pub mod vectors;

#[cfg(test)]
mod tests;

pub use account::AccountSecret;
pub use auth_key::auth_key;
pub use device::DeviceSecret;
pub use pair::{Pair, PairError};
pub use passphrase::PassphraseError;
pub use peer_sessions::{
    BundleRequest, OpenError, Opened, PeerSessions, Purpose, SealError, Sealed, StartError,
};
pub use pending_code::PendingCode;
pub use pqxdh::HandshakeError;
pub use prekeys::{
    ConsumedPrekey, KemPrekeySecret, KemUse, OneTimePrekeySecret, PrekeySource, SignedPrekeySecret,
    SourceFailed,
};
pub use ratchet::RatchetError;
pub use recovery::{PhraseError, RecoveryPhrase};
pub use safety_number::SafetyNumber;
pub use seal::{BodyKind, Opening, SealedBody, UnsealError, open_sender};
pub use vault::{VaultError, VaultKey};
