//! Invites: what a new account costs where the operator wants to know who comes.

use sha2::{Digest, Sha256};
use sotto_proto::{ids::base32, wire::labelled};

/// Invites there may be at a time: an operator who wants more gives them more uses. So a list of them is one answer.
pub const MAX_INVITES: usize = 1_000;
/// Bytes of a note.
pub const MAX_NOTE: usize = 200;
/// Bytes of an invite's id.
const ID: usize = 10;

/// What is kept of a token: the token itself is only ever in the hands of those who invite and are invited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct InviteHash(pub [u8; 32]);

impl InviteHash {
    /// `SHA-256("sotto v1 invite" || token)`, of the token in lower case without space around it.
    pub fn of(token: &str) -> Self {
        let token = token.trim().to_ascii_lowercase();
        Self(Sha256::digest(labelled("sotto v1 invite", &[token.as_bytes()])).into())
    }

    /// What the operator calls it.
    pub fn id(&self) -> String {
        base32(self.0.get(..ID).unwrap_or_default())
    }
}

/// An invite.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invite {
    /// Of its token.
    pub hash: InviteHash,
    /// Accounts that can still be made with it; one with none left is not kept.
    pub uses: u32,
    /// When it was made, the server's clock, Unix milliseconds.
    pub created_ms: u64,
    /// From when on it is worth nothing.
    pub expires_ms: u64,
    /// Whom it is for, in the operator's words; at most [`MAX_NOTE`] bytes.
    pub note: String,
}

impl Invite {
    /// Whether an account can be made with it.
    pub fn valid(&self, now_ms: u64) -> bool {
        self.uses > 0 && now_ms < self.expires_ms
    }

    /// What is left after one account more; `None` if nothing.
    pub(crate) fn used(self) -> Option<Self> {
        let uses = self.uses.checked_sub(1).filter(|uses| *uses > 0)?;
        Some(Self { uses, ..self })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invite_is_called_by_the_first_80_bits_of_its_hash() {
        let mut hash = [0; 32];
        hash[0] = 0xff;
        hash[9] = 1;
        hash[10] = 0xff;
        assert_eq!(InviteHash(hash).id(), "74aaaaaaaaaaaaab");
    }

    #[test]
    fn an_invite_is_good_until_it_is_used_up_or_out_of_date() {
        let hash = InviteHash([1; 32]);
        let invite = Invite { hash, uses: 1, created_ms: 0, expires_ms: 10, note: String::new() };
        assert!(invite.valid(9) && !invite.valid(10));
        assert!(!Invite { uses: 0, ..invite }.valid(9));
    }
}
