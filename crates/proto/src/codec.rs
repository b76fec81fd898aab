//! bincode 2 as Sotto uses it for frames and server records: through serde, big-endian, fixed-width integers, with a
//! decode limit; trailing bytes are an error.

use bincode::config::{BigEndian, Configuration, Fixint, Limit};
use serde::{Serialize, de::DeserializeOwned};
use thiserror::Error;

use crate::limits::MAX_FRAME;

/// Why a value could not be encoded or decoded.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CodecError {
    /// The bytes are not the value: too short, out of range, or over the limit.
    #[error("malformed: {0}")]
    Malformed(String),
    /// Bytes are left after the value.
    #[error("there is data after the end")]
    Trailing,
    /// The value is larger than any frame.
    #[error("the value is too large to encode")]
    TooLarge,
}

fn config() -> Configuration<BigEndian, Fixint, Limit<MAX_FRAME>> {
    bincode::config::standard().with_big_endian().with_fixed_int_encoding().with_limit::<MAX_FRAME>()
}

/// Encodes; more than [`MAX_FRAME`] bytes are refused.
pub fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, CodecError> {
    let mut bytes = Vec::new();
    encode_after(&mut bytes, value)?;
    if bytes.len() > MAX_FRAME { Err(CodecError::TooLarge) } else { Ok(bytes) }
}

/// Encodes after what is there already.
pub(crate) fn encode_after<T: Serialize>(bytes: &mut Vec<u8>, value: &T) -> Result<(), CodecError> {
    bincode::serde::encode_into_std_write(value, bytes, config())
        .map(|_written| ())
        .map_err(|error| CodecError::Malformed(error.to_string()))
}

/// Decodes all of `bytes`. Never allocates more than [`MAX_FRAME`] on the word of a length inside.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
    let (value, read) = bincode::serde::decode_from_slice(bytes, config())
        .map_err(|error| CodecError::Malformed(error.to_string()))?;
    if read == bytes.len() { Ok(value) } else { Err(CodecError::Trailing) }
}
