//! The shared vocabulary of Sotto: ids, public keys, certificates, device lists, prekey records, the sealed
//! envelope's outer form, content, frames and limits.
//!
//! This crate does no IO, reads no clock, draws no randomness and holds no secret type, so the server may depend on
//! it without gaining any code that could decrypt. The specification is in `docs/spec/`.
//!
//! Two encodings are used. What is signed, hashed or sealed is written by [`wire`]; frames and server records are
//! bincode ([`codec`]).

pub mod address;
pub mod certificate;
pub mod chain;
pub mod codec;
pub mod content;
pub mod device_list;
pub mod envelope;
pub mod frame;
pub mod ids;
pub mod keys;
pub mod limits;
pub mod login;
pub mod name;
pub mod prekey;
pub mod reset_code;
pub mod version;
pub mod wire;

pub use address::Address;
pub use certificate::{Certificate, SignedCertificate};
pub use chain::KeyChain;
pub use device_list::{DeviceList, SignedDeviceList};
pub use envelope::Envelope;
pub use ids::{
    AccountId, DeviceId, FateTag, Incarnation, ListHash, MessageId, QueueNumber, ServerId, SessionId,
    SubmissionId,
};
pub use keys::{AccountKey, DeviceKey, IdentityKey, KemKey, PrekeyPublic, Signature};
pub use name::Username;
pub use reset_code::ResetCode;
pub use version::VersionRange;
