//! Published known answers, through the functions that this crate calls the libraries with.

use std::{collections::HashMap, convert::Infallible};

use rand::{SeedableRng, rngs::StdRng};
use rand_core::{TryCryptoRng, TryRng};
use sotto_proto::KemKey;

use super::hex;
use crate::{
    aead,
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
