#!/usr/bin/env python3
"""Recomputes the known-answer vectors of sotto-crypto from docs/spec/crypto.md alone.

    python3 -m venv venv && venv/bin/pip install cryptography kyber-py mnemonic
    cargo run -q -p sotto-crypto --example vectors -- --seed 1 | venv/bin/python tests/interop/check_vectors.py

Nothing here shares code with Sotto: X25519, Ed25519, ChaCha20-Poly1305, HKDF and Argon2id come from `cryptography`
(OpenSSL), ML-KEM-768 from `kyber-py`, the BIP 39 words from `mnemonic`. Every value in the file is either an input
(a private key, an id, a text) or is computed here from inputs and compared. Ends with 1 at the first difference.
"""

import base64
import hashlib
import hmac
import json
import struct
import sys

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from kyber_py.ml_kem import ML_KEM_768
from mnemonic import Mnemonic

checks = 0


def same(what, ours, theirs):
    global checks
    if isinstance(ours, bytes):
        ours = ours.hex()
    if ours != theirs:
        sys.exit(f"{what}\n  here:  {ours}\n  there: {theirs}")
    checks += 1


def raw(text):
    return bytes.fromhex(text)


def u8(n):
    return struct.pack(">B", n)


def u32(n):
    return struct.pack(">I", n)


def u64(n):
    return struct.pack(">Q", n)


def pre(data):
    """A byte string: its length, then the bytes."""
    return u32(len(data)) + data


def labelled(label, *parts):
    return pre(label.encode()) + b"".join(pre(part) for part in parts)


def sha256(data):
    return hashlib.sha256(data).digest()


def hkdf(salt, ikm, info, length):
    return HKDF(hashes.SHA256(), length, salt, info.encode()).derive(ikm)


def ed_public(seed):
    return Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def ed_sign(seed, message):
    return Ed25519PrivateKey.from_private_bytes(seed).sign(message)


def x_public(secret):
    return X25519PrivateKey.from_private_bytes(secret).public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def dh(secret, public):
    return X25519PrivateKey.from_private_bytes(secret).exchange(X25519PublicKey.from_public_bytes(public))


def kem_keys(seed):
    """(encapsulation key, decapsulation key) of the seed d || z."""
    return ML_KEM_768._keygen_internal(seed[:32], seed[32:])


def kem_encapsulate(key, m):
    """(shared secret, ciphertext) with the given randomness."""
    return ML_KEM_768._encaps_internal(key, m)


def padded_length(n):
    if n <= 2048:
        return 2048
    e = n.bit_length() - 1  # floor(log2 n)
    s = e.bit_length()  # floor(log2 e) + 1
    mask = (1 << (e - s)) - 1
    return (n + mask) & ~mask


def argon2id(password, salt, memory_kib, passes, lanes):
    return Argon2id(salt=salt, length=32, iterations=passes, lanes=lanes, memory_cost=memory_kib).derive(password)


def in_fours(data):
    """The first 80 bits of the hash, as people compare them."""
    code = base64.b32encode(sha256(data)[:10]).decode().lower()
    return "-".join(code[i:i + 4] for i in range(0, 16, 4))


def check_identity(name, v):
    account_seed, device_seed, identity = raw(v["account_seed"]), raw(v["device_seed"]), raw(v["identity_secret"])
    same(f"{name} account key", ed_public(account_seed), v["account_key"])
    same(f"{name} device key", ed_public(device_seed), v["device_key"])
    same(f"{name} identity key", x_public(identity), v["identity_key"])
    same(f"{name} phrase", Mnemonic("english").to_mnemonic(account_seed), v["recovery_phrase"])
    keys = raw(v["device_key"]) + raw(v["identity_key"])
    encoded = (u8(1) + pre(v["username"].encode()) + raw(v["account_id"]) + raw(v["account_key"])
               + raw(v["device_id"]) + keys + u64(now_ms))
    same(f"{name} certificate, encoded", encoded, v["certificate_encoded"])
    certificate = pre(encoded) + ed_sign(account_seed, labelled("sotto v1 certificate", encoded))
    same(f"{name} certificate", certificate, v["certificate"])
    same(f"{name} certificate hash", sha256(certificate), v["certificate_hash"])
    number = max(1, now_ms // 1000)
    same(f"{name} list number", number, v["device_list_number"])
    encoded = (u8(1) + pre(v["username"].encode()) + raw(v["account_id"]) + raw(v["account_key"]) + u64(number)
               + bytes(32) + u32(1) + pre(certificate) + u32(0))
    device_list = pre(encoded) + ed_sign(account_seed, labelled("sotto v1 device list", encoded))
    same(f"{name} device list", device_list, v["device_list"])
    same(f"{name} device list hash", sha256(device_list), v["device_list_hash"])
    login = [raw(v[part]) for part in ("server_id", "challenge", "exporter")]
    for kind, seed in (("device", device_seed), ("account", account_seed)):
        same(f"{name} {kind} login", ed_sign(seed, labelled(f"sotto v1 {kind} login", *login)),
             v[f"{kind}_login_signature"])
    register = labelled("sotto v1 register", *login, sha256(device_list), sha256(raw(v["registration_auth_key"])))
    same(f"{name} register", ed_sign(device_seed, register), v["register_signature"])
    code = labelled("sotto v1 pending device", raw(v["account_id"]), raw(v["account_key"]), raw(v["device_id"]),
                    raw(v["device_key"]), raw(v["identity_key"]))
    same(f"{name} pending code", in_fours(code), v["pending_code"])
    code = labelled("sotto v1 reset code", v["username"].encode(), raw(v["account_id"]), raw(v["account_key"]))
    same(f"{name} reset code", in_fours(code), v["reset_code"])


def check_typed(v):
    a, b = v["alice"], v["bob"]
    entries = sorted(pre(raw(e["account_key"])) + pre(e["username"].encode()) for e in (a, b))
    output = hkdf(bytes(32), b"".join(entries), "sotto v1 safety number", 60)
    groups = [int.from_bytes(output[i:i + 5], "big") % 100_000 for i in range(0, 60, 5)]
    same("safety number", " ".join(f"{group:05}" for group in groups), v["safety_number"])
    auth = v["auth_key"]
    salt = sha256(labelled("sotto v1 auth salt", raw(auth["server_id"]), auth["username"].encode()))
    same("auth salt", salt, auth["salt"])
    password = raw(auth["password_utf8_nfc"])
    key = argon2id(password, salt, auth["memory_kib"], auth["passes"], auth["lanes"])
    same("auth key", key, auth["auth_key"])
    vault = v["vault"]
    record = raw(vault["record"])
    version, memory, passes, lanes = struct.unpack(">BIII", record[:13])
    same("vault version", version, 1)
    head, sealed, checksum = record[:29], record[29:77], record[77:]
    wrapping = argon2id(raw(vault["password_utf8_nfc"]), head[13:], memory, passes, lanes)
    same("vault key", ChaCha20Poly1305(wrapping).decrypt(bytes(12), sealed, head), vault["key"])
    same("vault checksum", sha256(record[:77])[:8], checksum.hex())
    for item in v["padding"]:
        same(f"padding of {item['length']}", padded_length(item["length"]), item["padded"])


def check_prekeys(v, owner):
    same("signed prekey", x_public(raw(v["signed_secret"])), v["signed_key"])
    encapsulation_key, _ = kem_keys(raw(v["kem_seed"]))
    same("KEM prekey", encapsulation_key, v["kem_key"])
    place = [raw(owner["account_id"]), raw(owner["device_id"])]
    dates = [u64(v["created_ms"]), u64(v["expires_ms"])]
    same("prekey lifetime", v["expires_ms"] - v["created_ms"], 180 * 86_400_000)
    kinds = {"signed": "curve prekey", "kem": f"{v['kem_use']} kem prekey"}
    for field, kind in kinds.items():
        message = labelled(f"sotto v1 sig {kind}", *place, u32(v[f"{field}_id"]), *dates, raw(v[f"{field}_key"]))
        same(f"{kind} signature", ed_sign(raw(owner["device_seed"]), message), v[f"{field}_signature"])
    if "one_time_secret" in v:
        same("one-time prekey", x_public(raw(v["one_time_secret"])), v["one_time_key"])


def check_handshake(v, keys, a, b):
    """The initiator's computation, and the responder's from its own private keys."""
    ephemeral = raw(v["ephemeral_secret"])
    same("ephemeral key", x_public(ephemeral), v["ephemeral_key"])
    shared, ciphertext = kem_encapsulate(raw(keys["kem_key"]), raw(v["kem_randomness"]))
    same("KEM ciphertext", ciphertext, v["kem_ciphertext"])
    same("KEM secret", shared, v["kem_secret"])
    _, decapsulation_key = kem_keys(raw(keys["kem_seed"]))
    same("KEM secret, responder", ML_KEM_768.decaps(decapsulation_key, ciphertext), v["kem_secret"])
    signed = raw(keys["signed_key"])
    results = [dh(raw(a["identity_secret"]), signed), dh(ephemeral, raw(b["identity_key"])), dh(ephemeral, signed)]
    theirs = [dh(raw(keys["signed_secret"]), raw(a["identity_key"])),
              dh(raw(b["identity_secret"]), raw(v["ephemeral_key"])),
              dh(raw(keys["signed_secret"]), raw(v["ephemeral_key"]))]
    one_time = "one_time_key" in keys
    if one_time:
        results.append(dh(ephemeral, raw(keys["one_time_key"])))
        theirs.append(dh(raw(keys["one_time_secret"]), raw(v["ephemeral_key"])))
    for number, (ours, responder) in enumerate(zip(results, theirs), 1):
        same(f"DH{number}", ours, v[f"dh{number}"])
        same(f"DH{number}, responder", responder, v[f"dh{number}"])
    use = u8(1 if keys["kem_use"] == "one-time" else 0)
    optional = u8(1) + u32(keys["one_time_id"]) if one_time else u8(0)
    header = (u8(1) + u64(v["generation"]) + raw(v["ephemeral_key"]) + u32(keys["signed_id"]) + use
              + u32(keys["kem_id"]) + optional + ciphertext)
    same("handshake header", header, v["header"])
    same("header hash", sha256(header), v["header_hash"])
    same("session id", sha256(header)[:16], v["session_id"])
    optional = optional + raw(keys["one_time_key"]) if one_time else u8(0)
    transcript = (pre(raw(a["certificate"])) + pre(raw(b["certificate"])) + raw(v["ephemeral_key"])
                  + u32(keys["signed_id"]) + signed + use + u32(keys["kem_id"]) + raw(keys["kem_key"]) + optional
                  + ciphertext + u64(v["generation"]))
    same("transcript", transcript, v["transcript"])
    same("transcript hash", sha256(transcript), v["transcript_hash"])
    secret = hkdf(sha256(transcript), b"\xff" * 32 + b"".join(results) + shared, "sotto v1 pqxdh", 32)
    same("session secret", secret, v["session_secret"])
    associated = raw(a["certificate_hash"]) + raw(b["certificate_hash"])
    same("associated data", associated, v["associated_data"])
    return header, secret, associated


class Ratchet:
    """Both sides at once: the root key, and per sender the chain, its ratchet key and its KEM part."""

    def __init__(self, secret, signed_secret):
        self.root = secret
        self.secrets = {"bob": signed_secret}
        self.publics = {"bob": x_public(signed_secret)}
        self.chain, self.number, self.previous, self.kem_part = {}, {}, {}, {}
        self.offers = {}
        self.last = "bob"

    def step(self, v, sender, peer):
        """A new sending chain."""
        secret = raw(v["ratchet_secret"])
        public = x_public(secret)
        same("ratchet key", public, v["ratchet_key"])
        shared = dh(secret, self.publics[peer])
        same("ratchet DH", shared, v["dh"])
        same("ratchet DH, peer", dh(self.secrets[peer], public), v["dh"])
        answer, kem_secret = u8(0), b""
        offer_seed = self.offers.pop(peer, None)
        same("an offer is answered", offer_seed is not None, "kem_answered_seed" in v)
        if offer_seed is not None:
            same("the answered offer", offer_seed, v["kem_answered_seed"])
            key, decapsulation_key = kem_keys(offer_seed)
            kem_secret, ciphertext = kem_encapsulate(key, raw(v["kem_randomness"]))
            same("KEM answer", ciphertext, v["kem_ciphertext"])
            same("KEM answer's secret", kem_secret, v["kem_secret"])
            same("KEM answer's secret, peer", ML_KEM_768.decaps(decapsulation_key, ciphertext), v["kem_secret"])
            same("KEM answer's hash", sha256(key), v["kem_answered_hash"])
            answer = u8(1) + sha256(key) + ciphertext
        offer = u8(0)
        if "kem_offer_seed" in v:
            self.offers[sender] = raw(v["kem_offer_seed"])
            key, _ = kem_keys(self.offers[sender])
            same("KEM offer", key, v["kem_offer_key"])
            offer = u8(1) + key
        same("root key before", self.root, v["root_key_before"])
        output = hkdf(self.root, shared + kem_secret, "sotto v1 root", 64)
        self.root = output[:32]
        same("root key", self.root, v["root_key"])
        self.previous[sender] = self.number.get(sender, 0)
        self.chain[sender], self.number[sender] = output[32:], 0
        self.secrets[sender], self.publics[sender] = secret, public
        self.kem_part[sender] = offer + answer
        self.last = sender

    def seal(self, v, associated):
        sender, peer = v["from"], {"alice": "bob", "bob": "alice"}[v["from"]]
        new = self.last != sender
        if new:
            self.step(v, sender, peer)
        # B's first chain is the responder's first: it must offer.
        if new and sender == "bob" and self.previous[sender] == 0 and not self.offered_once:
            same("the responder's first chain offers", "kem_offer_seed" in v, True)
            self.offered_once = True
        chain = self.chain[sender]
        same("chain key", chain, v["chain_key"])
        message_key = hmac.digest(chain, b"\x01", "sha256")
        self.chain[sender] = hmac.digest(chain, b"\x02", "sha256")
        same("message key", message_key, v["message_key"])
        same("next chain key", self.chain[sender], v["next_chain_key"])
        cipher = hkdf(bytes(32), message_key, "sotto v1 message", 44)
        same("cipher key", cipher[:32], v["cipher_key"])
        same("nonce", cipher[32:], v["nonce"])
        header = (self.publics[sender] + u32(self.previous[sender]) + u32(self.number[sender])
                  + self.kem_part[sender])
        same("ratchet header", header, v["header"])
        self.number[sender] += 1
        sealed = ChaCha20Poly1305(cipher[:32]).encrypt(cipher[32:], raw(v["content"]), associated + header)
        same("ciphertext", sealed, v["ciphertext"])
        return pre(header) + sealed

    offered_once = False


def check_envelope(v, message, initial_header, sender, recipient, session_id):
    body = message if initial_header is None else pre(initial_header) + message
    plain = u8(1 if initial_header is None else 0) + session_id + pre(body)
    plain += bytes(padded_length(len(plain)) - len(plain))
    same("kind", "ratchet" if initial_header is None else "initial", v["kind"])
    same("session id of the body", session_id, v["session_id"])
    same("sealed body", plain, v["body"])
    secret = raw(v["ephemeral_secret"])
    ephemeral, identity = x_public(secret), raw(recipient["identity_key"])
    same("envelope key", ephemeral, v["ephemeral_key"])
    shared = dh(secret, identity)
    static = dh(raw(sender["identity_secret"]), identity)
    same("envelope DH", shared, v["dh"])
    same("static DH", static, v["static_dh"])
    part1_key = hkdf(pre(ephemeral) + pre(identity), shared, "sotto v1 seal sender", 32)
    same("part 1 key", part1_key, v["part1_key"])
    hashes_ = pre(raw(sender["certificate_hash"])) + pre(raw(recipient["certificate_hash"]))
    part2_key = hkdf(pre(ephemeral) + hashes_, pre(shared) + pre(static), "sotto v1 seal body", 32)
    same("part 2 key", part2_key, v["part2_key"])
    certificate = raw(sender["certificate"])
    part1 = ChaCha20Poly1305(part1_key).encrypt(bytes(12), certificate + bytes(320 - len(certificate)), u8(1))
    part2 = ChaCha20Poly1305(part2_key).encrypt(bytes(12), plain, u8(1))
    same("envelope", u8(1) + ephemeral + pre(part1) + pre(part2), v["bytes"])
    same("body hash", sha256(part2), v["body_hash"])


def check_session(v, alice, bob):
    check_prekeys(v["prekeys"], bob)
    header, secret, associated = check_handshake(v["handshake"], v["prekeys"], alice, bob)
    ratchet = Ratchet(secret, raw(v["prekeys"]["signed_secret"]))
    answered = False
    for message in v["messages"]:
        from_alice = message["from"] == "alice"
        sender, recipient = (alice, bob) if from_alice else (bob, alice)
        sealed = ratchet.seal(message, associated)
        initial = header if from_alice and not answered else None
        check_envelope(message["envelope"], sealed, initial, sender, recipient, sha256(header)[:16])
        answered = answered or not from_alice


vectors = json.load(sys.stdin)
same("format", "sotto vectors 1", vectors["format"])
now_ms = vectors["now_ms"]
check_identity("alice", vectors["alice"])
check_identity("bob", vectors["bob"])
check_typed(vectors)
for session in vectors["sessions"]:
    check_session(session, vectors["alice"], vectors["bob"])
print(f"{checks} values recomputed, all the same (seed {vectors['seed']})")
