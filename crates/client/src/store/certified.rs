//! The certificates that this device has signed for others with the account's key: kept before they leave, for ever, so that
//! one device never gets two.

use sotto_proto::{
    DeviceId, SignedCertificate,
    wire::{Reader, Writer},
};

use super::{StoreError, Tx};

const VERSION: u8 = 1;
/// Eight times as many as an account may have devices; the oldest make room.
const MOST: usize = 64;
/// Bytes of one.
const MAX_BYTES: usize = 1024;

impl Tx<'_> {
    /// The certificate that was signed for a device.
    pub fn certified(&self, device: &DeviceId) -> Result<Option<SignedCertificate>, StoreError> {
        Ok(self.all_certified()?.into_iter().find(|signed| signed.certificate().device == *device))
    }

    /// Keeps a certificate that is about to leave, of a device that has none.
    pub fn keep_certified(&self, certificate: &SignedCertificate) -> Result<(), StoreError> {
        let mut kept = self.all_certified()?;
        kept.push(certificate.clone());
        let over = kept.len().saturating_sub(MOST);
        let mut out = Writer::new();
        out.u8(VERSION).count(kept.len() - over);
        for signed in kept.iter().skip(over) {
            out.bytes(signed.as_bytes());
        }
        self.set_meta("certified", &out.finish())
    }

    /// The oldest first.
    fn all_certified(&self) -> Result<Vec<SignedCertificate>, StoreError> {
        let Some(bytes) = self.meta("certified")? else { return Ok(Vec::new()) };
        let mut reader = Reader::new(&bytes);
        match reader.u8()? {
            VERSION => {}
            other => {
                return Err(StoreError::TooNew(format!("the record `certified` is of version {other}")));
            }
        }
        let mut kept = Vec::new();
        for _ in 0..reader.count(MOST)? {
            let signed = SignedCertificate::parse(reader.bytes(MAX_BYTES)?).map_err(|error| {
                StoreError::Damaged(format!("a certificate that was signed here: {error}"))
            })?;
            kept.push(signed);
        }
        reader.finish()?;
        Ok(kept)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use rand::{SeedableRng, rngs::StdRng};
    use sotto_crypto::{AccountSecret, DeviceSecret};
    use sotto_proto::{AccountId, Certificate};

    use super::*;
    use crate::store::LocalStore;

    #[test]
    fn certificates_read_back_the_oldest_make_room_and_a_newer_record_is_refused() {
        let mut rng = StdRng::seed_from_u64(1);
        let (account, keys) = (AccountSecret::generate(&mut rng), DeviceSecret::generate(&mut rng));
        let sign = |number: usize| {
            let certificate = Certificate {
                username: "alice".parse().unwrap(),
                account: AccountId([1; 16]),
                account_key: account.public(),
                device: DeviceId([u8::try_from(number).unwrap(); 16]),
                device_key: keys.device_key(),
                identity_key: keys.identity_key(),
                created_ms: 1,
            };
            account.sign_certificate(&certificate).unwrap()
        };
        let id = |number: usize| DeviceId([u8::try_from(number).unwrap(); 16]);
        let mut store = LocalStore::in_memory().unwrap();
        store
            .transaction::<_, StoreError>(|tx| {
                assert_eq!(tx.certified(&id(0))?, None);
                for number in 0..=MOST {
                    tx.keep_certified(&sign(number))?;
                    assert_eq!(tx.certified(&id(number))?, Some(sign(number)));
                }
                assert_eq!(tx.certified(&id(0))?, None);
                assert_eq!(tx.certified(&id(1))?, Some(sign(1)));
                tx.set_meta("certified", &[2])?;
                assert!(matches!(tx.certified(&id(1)), Err(StoreError::TooNew(_))));
                Ok(())
            })
            .unwrap();
    }
}
