//! Bytes from a peer that means harm: whatever they are, the answer is a value or an error.

use proptest::{
    collection::vec,
    prelude::{ProptestConfig, Strategy, any, prop_assert, prop_assert_eq, proptest},
    sample::Index,
    strategy::Union,
};
use sotto_proto::{
    Address, Envelope, KeyChain, SignedCertificate, SignedDeviceList, Username, codec,
    content::{Body, Content},
    frame::{BODY_HEADER, ClientFrame, FrameDecoder, ServerFrame},
    limits::{MAX_FRAME, MAX_FRAME_BEFORE_LOGIN},
    prekey::{PrekeyBundle, PrekeyUpload},
};

use crate::{samples, strategies};

/// Flips, cuts, doubles and overwrites.
#[derive(Debug, Clone)]
enum Damage {
    Flip(Index, u8),
    Cut(Index),
    Insert(Index, Vec<u8>),
    Length(Index, u64),
}

fn damage() -> impl Strategy<Value = Vec<Damage>> {
    let one = proptest::prop_oneof![
        (any::<Index>(), 1..=255u8).prop_map(|(at, mask)| Damage::Flip(at, mask)),
        any::<Index>().prop_map(Damage::Cut),
        (any::<Index>(), vec(any::<u8>(), 1..16)).prop_map(|(at, bytes)| Damage::Insert(at, bytes)),
        (any::<Index>(), any::<u64>()).prop_map(|(at, length)| Damage::Length(at, length)),
    ];
    vec(one, 1..4)
}

fn apply(bytes: &mut Vec<u8>, damage: &[Damage]) {
    for damage in damage {
        let length = bytes.len();
        match damage {
            Damage::Flip(at, mask) if length > 0 => bytes[at.index(length)] ^= mask,
            Damage::Cut(at) => bytes.truncate(at.index(length + 1)),
            Damage::Insert(at, more) => {
                let at = at.index(length + 1);
                bytes.splice(at..at, more.iter().copied());
            }
            Damage::Length(at, value) if length >= 8 => {
                let at = at.index(length - 7);
                bytes[at..at + 8].copy_from_slice(&value.to_be_bytes());
            }
            Damage::Flip(..) | Damage::Length(..) => {}
        }
    }
}

/// Everything that reads bytes from outside, on the same bytes; what is read must encode to the same bytes again.
fn read_all(bytes: &[u8]) {
    for kind in ClientFrame::KINDS {
        if let Ok(Some(frame)) = ClientFrame::decode(*kind, bytes) {
            assert_eq!(
                &frame.encode(1).unwrap()[4 + BODY_HEADER..],
                bytes,
                "{} has two encodings",
                frame.name()
            );
        }
    }
    for kind in ServerFrame::KINDS {
        if let Ok(Some(frame)) = ServerFrame::decode(*kind, bytes) {
            assert_eq!(
                &frame.encode(1).unwrap()[4 + BODY_HEADER..],
                bytes,
                "{} has two encodings",
                frame.name()
            );
        }
    }
    if let Ok(certificate) = SignedCertificate::parse(bytes) {
        assert_eq!(certificate.as_bytes(), bytes);
    }
    if let Ok(certificate) = SignedCertificate::parse_padded(bytes) {
        assert!(bytes.starts_with(certificate.as_bytes()));
    }
    if let Ok(list) = SignedDeviceList::parse(bytes) {
        assert_eq!(list.as_bytes(), bytes);
    }
    if let Ok(envelope) = Envelope::parse(bytes) {
        assert_eq!(envelope.encode(), bytes);
    }
    if let Ok(content) = Content::decode(bytes) {
        assert_eq!(content.encode().unwrap(), bytes);
    }
    for kind in 0..64 {
        if let Ok(Some(body)) = Body::decode(kind, bytes) {
            assert_eq!((body.kind(), body.encode()), (kind, bytes.to_vec()));
        }
    }
    if let Ok(chain) = codec::decode::<KeyChain>(bytes) {
        let _: Result<(), _> = chain.verify(bytes);
        assert!(chain.position(&chain.newest().0).is_some());
    }
    if let Ok(upload) = codec::decode::<PrekeyUpload>(bytes) {
        let key = samples::device_key(1);
        let alice = samples::account("alice", 1);
        let _: Result<(), _> = upload.verify(&alice.id(), &samples::device_id(1), &key, 0);
    }
    if let Ok(bundle) = codec::decode::<PrekeyBundle>(bytes) {
        let alice = samples::account("alice", 1);
        assert!(bundle.verify(&alice.id(), &samples::device_key(1), 0).is_err(), "nobody signed this");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_never_panic(bytes in vec(any::<u8>(), 0..600)) {
        read_all(&bytes);
    }

    #[test]
    fn damaged_client_frames_never_panic(
        frame in Union::new(strategies::client()),
        damage in damage(),
    ) {
        let mut payload = frame.encode(1).unwrap().split_off(4 + BODY_HEADER);
        apply(&mut payload, &damage);
        if let Ok(Some(read)) = ClientFrame::decode(frame.kind(), &payload) {
            prop_assert_eq!(&read.encode(1).unwrap()[4 + BODY_HEADER..], &payload[..]);
        }
    }

    #[test]
    fn damaged_server_frames_never_panic(
        frame in Union::new(strategies::server()),
        damage in damage(),
    ) {
        let mut payload = frame.encode(1).unwrap().split_off(4 + BODY_HEADER);
        apply(&mut payload, &damage);
        if let Ok(Some(read)) = ServerFrame::decode(frame.kind(), &payload) {
            prop_assert_eq!(&read.encode(1).unwrap()[4 + BODY_HEADER..], &payload[..]);
        }
    }

    #[test]
    fn a_damaged_stream_ends_in_an_error_or_waits(
        stream in vec(any::<u8>(), 0..2000),
        step in 1..300usize,
    ) {
        let mut decoder = FrameDecoder::new(MAX_FRAME_BEFORE_LOGIN);
        let mut out = 0;
        'stream: for piece in stream.chunks(step) {
            decoder.push(piece);
            loop {
                match decoder.next_frame() {
                    Ok(Some(frame)) => out += 4 + BODY_HEADER + frame.payload.len(),
                    Ok(None) => break,
                    Err(_) => break 'stream,
                }
            }
        }
        prop_assert!(out + decoder.buffered() <= stream.len());
    }

    #[test]
    fn a_damaged_certificate_or_list_is_refused(damage in damage()) {
        let alice = samples::account("alice", 1);
        let certificate = alice.certificate(1);
        let mut bytes = certificate.as_bytes().to_vec();
        apply(&mut bytes, &damage);
        prop_assert_eq!(SignedCertificate::parse(&bytes).is_ok(), bytes == certificate.as_bytes());
        let mut padded = certificate.padded().to_vec();
        apply(&mut padded, &damage);
        if let Ok(read) = SignedCertificate::parse_padded(&padded) {
            prop_assert_eq!(read, certificate);
        }
        let list = alice.list(9, [0; 32], &[1, 2], &[3]);
        let mut bytes = list.as_bytes().to_vec();
        apply(&mut bytes, &damage);
        prop_assert_eq!(SignedDeviceList::parse(&bytes).is_ok(), bytes == list.as_bytes());
    }

    #[test]
    fn damaged_content_and_envelopes_never_panic(damage in damage()) {
        for bytes in [
            samples::content().encode().unwrap(),
            samples::envelope().encode(),
            samples::bodies().iter().flat_map(Body::encode).collect(),
        ] {
            let mut bytes = bytes;
            apply(&mut bytes, &damage);
            read_all(&bytes);
        }
        for body in samples::bodies() {
            let mut bytes = body.encode();
            apply(&mut bytes, &damage);
            let _: Result<_, _> = Body::decode(body.kind(), &bytes);
        }
    }

    #[test]
    fn text_of_any_kind_is_an_address_or_an_error(text in ".*") {
        let _: Result<Address, _> = text.parse();
        let _: Result<Username, _> = text.parse();
    }
}

#[test]
fn the_limit_of_a_frame_holds_for_what_a_length_inside_claims() {
    // A string that claims to be longer than any frame, in the place of Hello's software.
    let mut payload = vec![0, 1, 0, 1];
    payload.extend_from_slice(&u64::try_from(MAX_FRAME + 1).unwrap().to_be_bytes());
    payload.extend(std::iter::repeat_n(b'a', MAX_FRAME + 1));
    let error = ClientFrame::decode(0x0001, &payload).unwrap_err();
    assert!(error.to_string().contains("Limit"), "{error}");
}
