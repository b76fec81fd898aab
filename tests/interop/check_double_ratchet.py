#!/usr/bin/env python3
"""Holds the conversations of the known-answer vectors with an independent Double Ratchet.

    python3 -m venv venv && venv/bin/pip install cryptography kyber-py mnemonic DoubleRatchet
    cargo run -q -p sotto-crypto --example vectors -- --seed 1 | venv/bin/python tests/interop/check_double_ratchet.py

`DoubleRatchet` (https://pypi.org/project/DoubleRatchet/, by Syndace) was made from Signal's specification and is used by
OMEMO clients. Here both people are the package's: when it steps a chain, what it counts, which keys it skips and keeps,
and when its state moves, is its own doing. From docs/spec/crypto.md, section 4, come only what the package asks its user
for: the constants of the KDFs, the AEAD, the header's bytes, and X25519 with the KEM secret behind its result in a step
that mixes one. That secret is decapsulated by `kyber-py`.

Everything is sealed (the same ratchet keys, counts, root and chain keys and ciphertexts must come out) and opened by it: in
order, with the messages of each chain swapped, and with one that arrives after the chains that followed it.

Not covered, for the package has nothing of the kind: when a chain offers a KEM key, the refusal of a chain whose answer is
missing or wrong, and the bound over two chains together. It also makes its next sending chain when it receives and not
when it sends, which changes when a key exists and none of the values. `check_vectors.py` recomputes the handshake, the KEM
part of the header and the envelope. Ends with 1 at the first difference.
"""

import asyncio
import json
import sys

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from doubleratchet import AEAD, AuthenticationFailedException, DoubleRatchet, EncryptedMessage, Header
from doubleratchet.recommended import HashFunction
from doubleratchet.recommended import diffie_hellman_ratchet_curve25519, kdf_hkdf, kdf_separate_hmacs
from kyber_py.ml_kem import ML_KEM_768

AD_LENGTH = 64
"""Of the session's associated data; the KEM part of the header comes behind it."""
FIXED_HEADER = 32 + 4 + 4
"""Ratchet key, previous chain length, number: the header of Signal's specification."""

checks = 0


def same(what, ours, theirs):
    global checks
    if ours != theirs:
        sys.exit(f"{what}\n  here:  {ours}\n  there: {theirs}")
    checks += 1


def raw(text):
    return bytes.fromhex(text)


class RootKdf(kdf_hkdf.KDF):
    """`HKDF(rk, dh ss, "sotto v1 root")`."""

    @staticmethod
    def _get_hash_function():
        return HashFunction.SHA_256

    @staticmethod
    def _get_info():
        return b"sotto v1 root"


class ChainKdf(kdf_separate_hmacs.KDF):
    """One HMAC for each byte of the constant: the next chain key, then the message key."""

    @staticmethod
    def _get_hash_function():
        return HashFunction.SHA_256


CHAIN_CONSTANT = b"\x02\x01"


class MessageAead(AEAD):
    @staticmethod
    def cipher(message_key):
        key = HKDF(hashes.SHA256(), 44, bytes(32), b"sotto v1 message").derive(message_key)
        return ChaCha20Poly1305(key[:32]), key[32:]

    @staticmethod
    async def encrypt(plaintext, key, associated_data):
        cipher, nonce = MessageAead.cipher(key)
        return cipher.encrypt(nonce, plaintext, associated_data)

    @staticmethod
    async def decrypt(ciphertext, key, associated_data):
        cipher, nonce = MessageAead.cipher(key)
        try:
            return cipher.decrypt(nonce, ciphertext, associated_data)
        except InvalidTag as error:
            raise AuthenticationFailedException from error


class Ratchet(DoubleRatchet):
    @staticmethod
    def _build_associated_data(associated_data, header):
        return (associated_data[:AD_LENGTH] + header.ratchet_pub
                + header.previous_sending_chain_length.to_bytes(4, "big")
                + header.sending_chain_length.to_bytes(4, "big") + associated_data[AD_LENGTH:])


def steps(messages):
    """The ratchet secrets of each person in the order of their chains, and the KEM secret of a pair of ratchet keys."""
    secrets, kem_secrets = {"alice": [], "bob": []}, {}
    newest, offers = {}, {}
    for v in messages:
        sender, peer = v["from"], {"alice": "bob", "bob": "alice"}[v["from"]]
        if "root_key" not in v:
            continue
        secrets[sender].append(raw(v["ratchet_secret"]))
        newest[sender] = raw(v["ratchet_key"])
        if peer in offers:
            _, decapsulation_key = offers.pop(peer)
            shared = ML_KEM_768.decaps(decapsulation_key, raw(v["header"])[-1088:])
            kem_secrets[frozenset((newest[sender], newest[peer]))] = shared
        if "kem_offer_seed" in v:
            seed = raw(v["kem_offer_seed"])
            offers[sender] = ML_KEM_768._keygen_internal(seed[:32], seed[32:])
    return secrets, kem_secrets


class Person:
    """One side of a conversation, which is told the ratchet secrets of its chains."""

    def __init__(self, name, secrets, kem_secrets):
        # The package makes a chain when it has received, so at the end one more than the vectors have.
        secrets = [*secrets, bytes([9] * 32)]
        person = self

        class DiffieHellman(diffie_hellman_ratchet_curve25519.DiffieHellmanRatchet):
            @classmethod
            def _generate_priv(cls):
                return secrets[person.chains]

            @classmethod
            def _perform_diffie_hellman(cls, own_priv, other_pub):
                pair = frozenset((cls._derive_pub(own_priv), other_pub))
                return super()._perform_diffie_hellman(own_priv, other_pub) + kem_secrets.get(pair, b"")

        self.name = name
        self.ratchet = None
        self.chains = 0
        self.setup = {
            "diffie_hellman_ratchet_class": DiffieHellman,
            "root_chain_kdf": RootKdf,
            "message_chain_kdf": ChainKdf,
            "message_chain_constant": CHAIN_CONSTANT,
            "dos_protection_threshold": 10_000,
            "max_num_skipped_message_keys": 10_000,
            "aead": MessageAead,
        }

    async def seal(self, v, session):
        header = raw(v["header"])
        content, associated = raw(v["content"]), associated_data(session, header)
        if self.ratchet is None:
            self.ratchet, message = await Ratchet.encrypt_initial_message(
                **self.setup, shared_secret=raw(session["handshake"]["session_secret"]),
                recipient_ratchet_pub=raw(session["prekeys"]["signed_key"]), message=content,
                associated_data=associated)
        else:
            message = await self.ratchet.encrypt_message(content, associated)
        same("header", message.header, parsed(header))
        same("ciphertext", message.ciphertext.hex(), v["ciphertext"])
        state = self.ratchet.model.diffie_hellman_ratchet
        same("next chain key", state.symmetric_key_ratchet.sending_chain.key.hex(), v["next_chain_key"])
        if "root_key" in v:
            self.chains += 1
            same("root key", state.root_chain.key.hex(), v["root_key"])

    async def decrypt(self, session, header, ciphertext):
        message = EncryptedMessage(parsed(header), ciphertext)
        associated = associated_data(session, header)
        if self.ratchet is not None:
            return await self.ratchet.decrypt_message(message, associated)
        self.ratchet, content = await Ratchet.decrypt_initial_message(
            **self.setup, shared_secret=raw(session["handshake"]["session_secret"]),
            own_ratchet_priv=raw(session["prekeys"]["signed_secret"]), message=message, associated_data=associated)
        return content

    async def open(self, v, session):
        header, ciphertext = raw(v["header"]), raw(v["ciphertext"])
        # A byte of the ciphertext, the previous chain length and the KEM part: each is authenticated.
        await self.refuse(session, header, damaged(ciphertext, 0))
        await self.refuse(session, damaged(header, 35), ciphertext)
        await self.refuse(session, damaged(header, FIXED_HEADER), ciphertext)
        same(f"content, opened by {self.name}", (await self.decrypt(session, header, ciphertext)).hex(), v["content"])

    async def refuse(self, session, header, ciphertext):
        before = self.ratchet and self.ratchet.json
        try:
            await self.decrypt(session, header, ciphertext)
        except AuthenticationFailedException:
            same("the state has not moved", self.ratchet and self.ratchet.json, before)
        else:
            sys.exit("a damaged message opened")


def associated_data(session, header):
    return raw(session["handshake"]["associated_data"]) + header[FIXED_HEADER:]


def parsed(header):
    return Header(header[:32], int.from_bytes(header[32:36], "big"), int.from_bytes(header[36:40], "big"))


def damaged(data, at):
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1:]


async def converse(session, arrivals):
    """Seals all messages; those that `arrivals` names for a turn are opened after it."""
    secrets, kem_secrets = steps(session["messages"])
    people = {name: Person(name, secrets[name], kem_secrets) for name in ("alice", "bob")}
    peer = {"alice": people["bob"], "bob": people["alice"]}
    for turn, v in enumerate(session["messages"]):
        await people[v["from"]].seal(v, session)
        for arrived in arrivals[turn]:
            opened = session["messages"][arrived]
            await peer[opened["from"]].open(opened, session)
    return len(kem_secrets)


ARRIVALS = {
    "in order": [[0], [1], [2], [3], [4], [5], [6]],
    "the messages of a chain swapped": [[], [1, 0], [2], [], [4, 3], [5], [6]],
    "one after the chains that followed it": [[0], [], [2], [3], [4], [5], [6, 1]],
}

vectors = json.load(sys.stdin)
same("format", vectors["format"], "sotto vectors 1")
same("sessions", len(vectors["sessions"]), 2)
for conversation in vectors["sessions"]:
    same("senders", [v["from"] for v in conversation["messages"]],
         ["alice", "alice", "bob", "alice", "alice", "bob", "alice"])
    for name, order in ARRIVALS.items():
        same("all arrive", sorted(sum(order, [])), list(range(7)))
        same(f"KEM secrets mixed in ({name})", asyncio.run(converse(conversation, order)) > 0, True)
print(f"{checks} values of another double ratchet, all the same (seed {vectors['seed']})")
