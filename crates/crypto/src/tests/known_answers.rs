//! Published known answers, through the functions that this crate calls the libraries with.

use std::{collections::HashMap, convert::Infallible};

use ed25519_dalek::{Verifier, VerifyingKey};
use rand::{SeedableRng, rngs::StdRng};
use rand_core::{TryCryptoRng, TryRng};
use sotto_proto::{
    DeviceKey, KemKey, Signature,
    keys::{BadSignature, ED25519_SPKI_PREFIX, verify_spki},
};

use super::hex;
use crate::{
    DeviceSecret, aead,
    curve::{CurveSecret, LowOrder},
    kdf::{hkdf, hmac, sha256},
    kem::{self, BadKemKey, KemSecret},
    passphrase::{Cost, argon2id},
    secret::Secret,
};

fn array<const N: usize>(text: &str) -> [u8; N] {
    hex(text).try_into().unwrap()
}

/// RFC 7748, section 5.2.
#[test]
fn x25519() {
    let secret =
        CurveSecret::from_slice(&hex("a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4"))
            .unwrap();
    let shared =
        secret.agree(&array("e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c")).unwrap();
    assert_eq!(shared.expose(), &array("c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552"));
    // After one and after 1,000 iterations.
    let (mut k, mut u): ([u8; 32], [u8; 32]) = ([0; 32], [0; 32]);
    (k[0], u[0]) = (9, 9);
    for round in 1..=1_000 {
        let result = *CurveSecret::from_slice(&k).unwrap().agree(&u).unwrap().expose();
        (u, k) = (k, result);
        if round == 1 {
            assert_eq!(k, array("422c8e7a6227d7bca1350b3e2bb7279f7897b87bb6854b783c60e80311ae3079"));
        }
    }
    assert_eq!(k, array("684cf59ba83309552800ef566f2f4d3c1c3887c49360e3875f2eb94d99532c51"));
}

/// RFC 7748, section 6.1.
#[test]
fn x25519_public_keys() {
    let secret = |text| CurveSecret::from_slice(&hex(text)).unwrap();
    let alice = secret("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a");
    let bob = secret("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb");
    assert_eq!(alice.public().0, array("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"));
    assert_eq!(bob.public().0, array("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f"));
    let shared = array("4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742");
    assert_eq!(alice.agree(&bob.public().0).unwrap().expose(), &shared);
    assert_eq!(bob.agree(&alice.public().0).unwrap().expose(), &shared);
}

/// RFC 8032, section 7.1: secret key, public key, message, signature of tests 1, 2, 3 and SHA(abc).
const ED25519: [[&str; 4]; 4] = [
    [
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595\
         bbe24655141438e7a100b",
    ],
    [
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb43\
         02aeeb00d291612bb0c00",
    ],
    [
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716\
         ed28dc027beceea1ec40a",
    ],
    [
        "833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42",
        "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf",
        "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643\
         ce80e2a9ac94fa54ca49f",
        "dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b58909351fc9ac90b3ecfdfbc7c66431e0303dca179c138\
         ac17ad9bef1177331a704",
    ],
];

/// Through the signing key of a device, the verification of every signed form, and that of the server's key chain.
#[test]
fn ed25519() {
    for [seed, public, message, signature] in ED25519 {
        let record = [vec![1], hex(seed), vec![7; 32]].concat();
        let device = DeviceSecret::from_bytes(&record).unwrap();
        let (message, signature) = (hex(message), Signature(array(signature)));
        assert_eq!(device.device_key(), DeviceKey(array(public)));
        assert_eq!(device.sign(&message), signature);
        assert_eq!(device.device_key().verify(&message, &signature), Ok(()));
        let spki = [ED25519_SPKI_PREFIX.as_slice(), &hex(public)].concat();
        assert_eq!(verify_spki(&spki, &message, &signature), Ok(()));
        for at in [0, 31, 32, 63] {
            let mut other = signature;
            other.0[at] ^= 1;
            assert_eq!(device.device_key().verify(&message, &other), Err(BadSignature), "byte {at}");
        }
        let longer = [message.as_slice(), &[0]].concat();
        assert_eq!(device.device_key().verify(&longer, &signature), Err(BadSignature));
    }
}

/// RFC 8032, section 5.1.7, wants S below the group's order L; without that, S + L would sign the same message.
#[test]
fn an_ed25519_signature_has_one_form() {
    let [_, public, message, signature] = ED25519[1];
    let key = DeviceKey(array(public));
    let mut signature = Signature(array(signature));
    assert_eq!(key.verify(&hex(message), &signature), Ok(()));
    let order: [u8; 32] = array("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010");
    let mut carry = 0u16;
    for (byte, add) in signature.0[32..].iter_mut().zip(order) {
        let sum = u16::from(*byte) + u16::from(add) + carry;
        *byte = sum.to_le_bytes()[0];
        carry = sum >> 8;
    }
    assert_eq!(carry, 0);
    assert_eq!(key.verify(&hex(message), &signature), Err(BadSignature));
}

/// Under a public key of small order one signature holds for every message, where verification is not strict.
#[test]
fn ed25519_keys_of_small_order_are_refused() {
    let mut identity = [0; 32];
    identity[0] = 1;
    let mut signature = [0; 64];
    signature[..32].copy_from_slice(&identity);
    let lax = VerifyingKey::from_bytes(&identity).unwrap();
    for message in [b"pay".as_slice(), b"do not pay"] {
        assert!(lax.verify(message, &ed25519_dalek::Signature::from_bytes(&signature)).is_ok());
        assert_eq!(DeviceKey(identity).verify(message, &Signature(signature)), Err(BadSignature));
    }
}

/// The points of small order of Curve25519 and its twist, and their non-canonical spellings.
pub(crate) fn low_order_points() -> Vec<[u8; 32]> {
    [
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "0000000000000000000000000000000000000000000000000000000000000080",
        "0100000000000000000000000000000000000000000000000000000000000080",
    ]
    .map(array)
    .to_vec()
}

#[test]
fn points_of_small_order_are_refused() {
    let secret = CurveSecret::generate(&mut StdRng::seed_from_u64(1));
    for point in low_order_points() {
        assert_eq!(secret.agree(&point).err(), Some(LowOrder), "{point:02x?}");
    }
}

/// RFC 8439, section 2.8.2.
#[test]
fn chacha20_poly1305() {
    let key = array("808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f");
    let nonce = array("070000004041424344454647");
    let associated = hex("50515253c0c1c2c3c4c5c6c7");
    let plaintext =
        b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, \
        sunscreen would be it.";
    let sealed = aead::seal(&key, &nonce, &associated, plaintext).unwrap();
    assert_eq!(
        sealed,
        hex(concat!(
            "d31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d63dbea45e8ca9671282fafb69da92728b",
            "1a71de0a9e060b2905d6a5b67ecd3b3692ddbd7f2d778b8c9803aee328091b58fab324e4fad675945585808b4831d7bc",
            "3ff4def08e4b7a9de576d26586cec64b61161ae10b594f09e26a7e902ecbd0600691"
        ))
    );
    assert_eq!(aead::open(&key, &nonce, &associated, &sealed).unwrap().as_slice(), plaintext);
    assert!(aead::open(&key, &nonce, b"", &sealed).is_err());
    assert!(aead::open(&key, &nonce, &associated, &sealed[..15]).is_err());
}

/// RFC 5869, appendix A, cases 1 and 3; RFC 4231, case 1 (HMAC fills a key of 20 bytes up with zeros).
#[test]
fn hkdf_and_hmac() {
    let ikm = [0x0b; 22];
    let salt = hex("000102030405060708090a0b0c");
    let output: Secret<42> = hkdf(&salt, &[&ikm[..7], &ikm[7..]], &hex("f0f1f2f3f4f5f6f7f8f9"));
    assert_eq!(
        output.expose(),
        &array("3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865")
    );
    let output: Secret<42> = hkdf(&[], &[&ikm], &[]);
    assert_eq!(
        output.expose(),
        &array("8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8")
    );
    let mut key = [0; 32];
    key[..20].fill(0x0b);
    assert_eq!(
        hmac(&key, b"Hi There").expose(),
        &array("b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7")
    );
    assert_eq!(sha256(b"abc"), array("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"));
}

/// RFC 9106, section 5.3, and the reference implementation's test of 64 MiB in two passes.
#[test]
fn argon2id_known_answers() {
    let params = argon2::ParamsBuilder::new()
        .m_cost(32)
        .t_cost(3)
        .p_cost(4)
        .data(argon2::AssociatedData::new(&[4; 12]).unwrap())
        .build()
        .unwrap();
    let argon2 =
        argon2::Argon2::new_with_secret(&[3; 8], argon2::Algorithm::Argon2id, argon2::Version::V0x13, params)
            .unwrap();
    let mut tag = [0; 32];
    argon2.hash_password_into(&[1; 32], &[2; 16], &mut tag).unwrap();
    assert_eq!(tag, array("0d640df58d78766c08c037a34a8b53c9d01ef0452d75b65eb52520e96b01e659"));
    let cost = Cost { memory_kib: 64 * 1024, passes: 2, lanes: 1 };
    assert_eq!(
        argon2id("password", b"somesalt", cost).unwrap().expose(),
        &array("09316115d5cf24ed5a15a31a3ba326e5cf32edc24702987c02b6566f61913cf7")
    );
}

/// Gives the bytes that it was made of, and no more.
struct Given(Vec<u8>);

impl TryRng for Given {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        panic!("bytes are drawn, not numbers")
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        panic!("bytes are drawn, not numbers")
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        bytes.copy_from_slice(&self.0.drain(..bytes.len()).collect::<Vec<u8>>());
        Ok(())
    }
}

impl TryCryptoRng for Given {}

/// Key generation, encapsulation and decapsulation of one key; and a ciphertext that is rejected.
#[test]
fn ml_kem_768() {
    let text = include_str!("ml_kem_768.txt");
    let values: HashMap<&str, Vec<u8>> = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once(" = "))
        .map(|(name, value)| (name, hex(value)))
        .collect();
    let ciphertext = |name: &str| -> kem::KemCiphertext { values[name].clone().try_into().unwrap() };
    let mut rng = Given(values["seed"].clone());
    let secret = KemSecret::generate(&mut rng);
    assert!(rng.0.is_empty());
    assert_eq!(secret.public().as_slice(), values["ek"]);
    let public = KemKey::from_slice(&values["ek"]).unwrap();
    let mut rng = Given(values["m"].clone());
    let (sealed, shared) = kem::encapsulate(&public, &mut rng).unwrap();
    assert!(rng.0.is_empty());
    assert_eq!(sealed.as_slice(), values["c"]);
    assert_eq!(shared.expose().as_slice(), values["k"]);
    assert_eq!(secret.decapsulate(&ciphertext("c")).expose().as_slice(), values["k"]);

    let rejecting = KemSecret::from_slice(&values["rejecting_seed"]).unwrap();
    assert_eq!(rejecting.public().as_slice(), values["rejecting_ek"]);
    assert_eq!(rejecting.decapsulate(&ciphertext("rejected_c")).expose().as_slice(), values["rejected_k"]);
}

#[test]
fn ml_kem_agrees_rejects_implicitly_and_checks_keys() {
    let mut rng = StdRng::seed_from_u64(2);
    let secret = KemSecret::generate(&mut rng);
    let public = KemKey::from_slice(&secret.public()).unwrap();
    let (ciphertext, shared) = kem::encapsulate(&public, &mut rng).unwrap();
    assert_eq!(secret.decapsulate(&ciphertext).expose(), shared.expose());
    let again = KemSecret::from_slice(secret.seed().expose()).unwrap();
    assert_eq!(again.decapsulate(&ciphertext).expose(), shared.expose());
    let mut other = ciphertext.clone();
    other[100] ^= 1;
    let rejected = *secret.decapsulate(&other).expose();
    assert_ne!(&rejected, shared.expose());
    assert_eq!(&rejected, secret.decapsulate(&other).expose(), "implicit rejection is deterministic");
    // A coefficient of q = 3329 or more fails the modulus check; the last 32 bytes are a seed and may be anything.
    let mut bytes = *public.as_bytes();
    bytes[0] = 0xff;
    bytes[1] |= 0x0f;
    let bad = KemKey::from_slice(&bytes).unwrap();
    assert_eq!(kem::check(&bad), Err(BadKemKey));
    assert_eq!(kem::encapsulate(&bad, &mut rng).err(), Some(BadKemKey));
    assert_eq!(kem::check(&public), Ok(()));
    assert!(KemKey::from_slice(&bytes[1..]).is_err());
}
