//! The server's TLS keys, and the chain that they make.

use rustls::{
    SignatureScheme, crypto::aws_lc_rs::sign::any_eddsa_type, pki_types::PrivatePkcs8KeyDer, sign::Signer,
};
use sotto_proto::{
    KeyChain, Signature,
    chain::{Successor, successor_input},
};

use super::World;

/// What stands before the 32 bytes of an Ed25519 key in PKCS #8.
const PKCS8: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

/// The key of a seed: its public half, and what signs with it.
fn key(seed: u8) -> (Vec<u8>, Box<dyn Signer>) {
    let der = PrivatePkcs8KeyDer::from([&PKCS8[..], &[seed; 32]].concat());
    let key = any_eddsa_type(&der).unwrap();
    (key.public_key().unwrap().to_vec(), key.choose_scheme(&[SignatureScheme::ED25519]).unwrap())
}

/// The chain of the keys of these seeds, each signed by the one before it.
pub(crate) fn chain_of(seeds: &[u8]) -> KeyChain {
    let successors = (1..).zip(seeds.windows(2)).map(|(number, pair)| {
        let ((old, signer), (spki, _)) = (key(pair[0]), key(pair[1]));
        let signature = signer.sign(&successor_input(&old, &spki, number)).unwrap();
        Successor { spki, signature: Signature(signature.try_into().unwrap()) }
    });
    KeyChain { first: key(seeds[0]).0, successors: successors.collect() }
}

impl World {
    /// The server has this chain from its next start on, and connects with the key at its end.
    pub(crate) fn replace_chain(&mut self, chain: KeyChain) {
        self.crash_server();
        self.chain = chain;
        self.start_server();
    }

    /// The key of its TLS sessions.
    pub(super) fn spki(&self) -> Vec<u8> {
        let newest = self.chain.successors.last().map_or(&self.chain.first, |successor| &successor.spki);
        newest.clone()
    }
}
