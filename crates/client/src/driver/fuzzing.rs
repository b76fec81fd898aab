//! What the fuzz targets reach that is not public: the key file, and what travels over the local socket. The feature is off
//! in what `cargo build` makes.

use sotto_proto::wire::WireError;

use super::{
    local::{ToFace, ToOwner},
    vault::Vault,
};

/// Reads a key file and writes it again, in the newest form.
pub fn vault(bytes: &[u8]) -> Result<Vec<u8>, WireError> {
    Vault::decode(bytes).map(|vault| vault.encode())
}

/// The wraps in a key file.
pub fn wraps(bytes: &[u8]) -> Result<Vec<Vec<u8>>, WireError> {
    Vault::decode(bytes).map(Vault::into_wraps)
}

/// Reads what a face may send and writes it again; `None` if it is nothing a face may send.
pub fn to_owner(bytes: &[u8]) -> Option<Vec<u8>> {
    serde_json::from_slice::<ToOwner>(bytes).ok().and_then(|value| serde_json::to_vec(&value).ok())
}

/// The same of what the owner of a profile may send.
pub fn to_face(bytes: &[u8]) -> Option<Vec<u8>> {
    serde_json::from_slice::<ToFace>(bytes).ok().and_then(|value| serde_json::to_vec(&value).ok())
}
