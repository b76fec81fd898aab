//! Every parser takes any bytes without a panic, and reads back what it wrote.

use proptest::{collection::vec, prelude::*};
use rand::{SeedableRng, rngs::StdRng};
use sotto_proto::prekey::PrekeyId;

use super::conversation::ends;
use crate::{
    DeviceSecret, KemPrekeySecret, KemUse, OneTimePrekeySecret, PeerSessions, Purpose, SignedPrekeySecret,
    handshake::HandshakeHeader, header::RatchetHeader,
};

fn read_all(bytes: &[u8]) {
    let _ = DeviceSecret::from_bytes(bytes).is_ok();
    let _ = SignedPrekeySecret::from_bytes(bytes).is_ok();
    let _ = OneTimePrekeySecret::from_bytes(bytes).is_ok();
    let _ = KemPrekeySecret::from_bytes(bytes).is_ok();
    let _ = PeerSessions::from_bytes(bytes).is_ok();
    let _ = HandshakeHeader::parse(bytes).is_ok();
    let _ = RatchetHeader::parse(bytes).is_ok();
}

fn record() -> Vec<u8> {
    let mut rng = StdRng::seed_from_u64(1);
    let (mut a, mut b) = ends(&mut rng, 0);
    let sealed = a.send(&mut rng, &mut b.device, b"1", Purpose::Message, 0);
    b.take(&sealed.envelope, 0);
    let _skipped = b.send(&mut rng, &mut a.device, b"2", Purpose::Message, 0);
    let sealed = b.send(&mut rng, &mut a.device, b"3", Purpose::Message, 0);
    a.take(&sealed.envelope, 0);
    a.sessions.to_bytes().to_vec()
}

#[test]
fn a_record_cut_short_or_made_longer_is_refused() {
    let record = record();
    assert_eq!(*PeerSessions::from_bytes(&record).unwrap().to_bytes(), record);
    for length in 0..record.len() {
        assert!(PeerSessions::from_bytes(&record[..length]).is_err(), "length {length}");
    }
    assert!(PeerSessions::from_bytes(&[record.as_slice(), &[0]].concat()).is_err());
}

proptest! {
    #[test]
    fn any_bytes(bytes in vec(any::<u8>(), 0..3_000)) {
        read_all(&bytes);
    }

    #[test]
    fn any_bytes_behind_a_known_version(bytes in vec(any::<u8>(), 0..3_000)) {
        let mut bytes = bytes;
        bytes.insert(0, 1);
        read_all(&bytes);
    }

    #[test]
    fn a_damaged_record(at in 0usize..10_000, to: u8) {
        let mut record = record();
        let at = at % record.len();
        record[at] = to;
        read_all(&record);
    }

    #[test]
    fn secrets_read_back(seed: u64, id: u32, now_ms in 0u64..1 << 50) {
        let mut rng = StdRng::seed_from_u64(seed);
        let device = DeviceSecret::generate(&mut rng);
        let again = DeviceSecret::from_bytes(&device.to_bytes()).unwrap();
        prop_assert_eq!(again.device_key(), device.device_key());
        prop_assert_eq!(again.identity_key(), device.identity_key());
        // A buffer that grows leaves a copy behind that nobody wipes.
        prop_assert_eq!(device.to_bytes().capacity(), device.to_bytes().len());
        let signed = SignedPrekeySecret::generate(&mut rng, PrekeyId(id), now_ms);
        let again = SignedPrekeySecret::from_bytes(&signed.to_bytes()).unwrap();
        prop_assert_eq!((again.id(), again.validity()), (signed.id(), signed.validity()));
        prop_assert_eq!(again.secret.public(), signed.secret.public());
        let one_time = OneTimePrekeySecret::generate(&mut rng, PrekeyId(id));
        let again = OneTimePrekeySecret::from_bytes(&one_time.to_bytes()).unwrap();
        prop_assert_eq!(again.publish(), one_time.publish());
        prop_assert!(SignedPrekeySecret::from_bytes(&one_time.to_bytes()).is_err());
        for kem_use in [KemUse::LastResort, KemUse::OneTime] {
            let kem = KemPrekeySecret::generate(&mut rng, kem_use, PrekeyId(id), now_ms);
            let again = KemPrekeySecret::from_bytes(&kem.to_bytes()).unwrap();
            prop_assert_eq!((again.id(), again.kem_use(), again.validity()), (kem.id(), kem_use, kem.validity()));
            prop_assert_eq!(again.secret.public(), kem.secret.public());
        }
    }
}
