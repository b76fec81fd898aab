//! The tree that the vectors are printed from.

use std::fmt::Write;

/// A JSON value: bytes are text in lower-case hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A whole number.
    Number(u64),
    /// Text, also bytes in hexadecimal.
    Text(String),
    /// A list.
    List(Vec<Value>),
    /// Named values, in this order.
    Object(Vec<(String, Value)>),
}

impl Value {
    pub(super) fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    pub(super) fn hex(bytes: impl AsRef<[u8]>) -> Self {
        let mut text = String::new();
        for byte in bytes.as_ref() {
            // Writing to a String does not fail.
            let _ = write!(text, "{byte:02x}");
        }
        Self::Text(text)
    }
}

/// An object of these fields.
pub(super) fn object<const N: usize>(fields: [(&str, Value); N]) -> Value {
    Value::Object(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}
