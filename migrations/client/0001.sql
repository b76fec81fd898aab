-- The client's store, version 1. Blobs of 16 or 32 bytes are ids, keys and hashes; times are Unix milliseconds.

CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- People, and oneself: what a name is pinned to.
CREATE TABLE contact (
    account     BLOB PRIMARY KEY,
    username    TEXT NOT NULL UNIQUE,
    account_key BLOB NOT NULL,
    list        BLOB NOT NULL,               -- the newest accepted signed device list
    list_number INTEGER NOT NULL,
    wanted      INTEGER NOT NULL DEFAULT 0,  -- the highest list number that any content named
    compared    INTEGER NOT NULL DEFAULT 0,  -- the safety number was compared
    changed     BLOB,                        -- the list with another identity that the server serves for the name
    alarm       TEXT,                        -- what is wrong with the lists that the server serves
    impostors   INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

-- All sessions with one remote device, as sotto-crypto stores them.
CREATE TABLE session (
    account BLOB NOT NULL,
    device  BLOB NOT NULL,
    state   BLOB NOT NULL,
    PRIMARY KEY (account, device)
) STRICT, WITHOUT ROWID;

-- Own prekeys with their private halves.
CREATE TABLE prekey (
    kind        INTEGER NOT NULL,
    id          INTEGER NOT NULL,
    secret      BLOB NOT NULL,
    created_ms  INTEGER NOT NULL,
    replaced_ms INTEGER,
    PRIMARY KEY (kind, id)
) STRICT, WITHOUT ROWID;

-- 16 bytes of the hash of every body that was processed: what drops duplicates.
CREATE TABLE seen_body (
    hash BLOB PRIMARY KEY
) STRICT, WITHOUT ROWID;

-- The history.
CREATE TABLE message (
    place         INTEGER PRIMARY KEY AUTOINCREMENT, -- order on screen; kept when a row is healed
    conversation  BLOB NOT NULL,                     -- account; of a user not looked up yet, a hash of the name
    name          TEXT,                              -- of the other side, as typed, where this device wrote it
    sender        BLOB NOT NULL,                     -- account
    message       BLOB NOT NULL,                     -- id
    print         INTEGER UNIQUE,                    -- order of arrival, for recv; NULL for what was written here
    printed       INTEGER NOT NULL DEFAULT 0,         -- recv has printed it
    outgoing      INTEGER NOT NULL,
    kind          INTEGER NOT NULL,
    body          BLOB NOT NULL,
    problem       TEXT,                              -- why it cannot be read
    failed        BLOB UNIQUE,                       -- the reference of the envelope that did not open
    sent_ms       INTEGER NOT NULL,
    received_ms   INTEGER NOT NULL,
    fate          TEXT,                              -- of outgoing ones
    reason        TEXT,
    connected     INTEGER NOT NULL DEFAULT 0,
    UNIQUE (conversation, sender, message)
) STRICT;
CREATE INDEX message_conversation ON message (conversation, place);
CREATE INDEX message_id ON message (message);

-- What is to be sent: messages (user = 1) and what devices tell each other (user = 0).
CREATE TABLE outbox (
    entry      INTEGER PRIMARY KEY AUTOINCREMENT,
    account    BLOB,                -- the recipient, once it is known
    username   TEXT,                -- the recipient, as typed
    device     BLOB,                -- only this device of the recipient
    message    BLOB NOT NULL,
    user       INTEGER NOT NULL,
    kind       INTEGER NOT NULL,
    body       BLOB NOT NULL,
    clock_ms   INTEGER NOT NULL,
    created_ms INTEGER NOT NULL,
    submission BLOB,                -- the Submit it stands in
    CHECK (account IS NOT NULL OR username IS NOT NULL)
) STRICT;
CREATE INDEX outbox_message ON outbox (message);
CREATE INDEX outbox_lane ON outbox (account, user, entry);

-- The sealed envelopes of an outbox entry. A retry sends the same bytes.
CREATE TABLE copy (
    entry     INTEGER NOT NULL REFERENCES outbox (entry) ON DELETE CASCADE,
    account   BLOB NOT NULL,
    device    BLOB NOT NULL,
    tag       BLOB NOT NULL,
    envelope  BLOB NOT NULL,
    reference BLOB NOT NULL,
    session   BLOB NOT NULL,
    refused   TEXT,                 -- why the server did not take it yet
    PRIMARY KEY (entry, account, device)
) STRICT, WITHOUT ROWID;

-- Which message an envelope held, so that it can be sent again to the device it was sealed to.
CREATE TABLE sent_body (
    reference    BLOB PRIMARY KEY,
    account      BLOB NOT NULL,
    device       BLOB NOT NULL,
    session      BLOB NOT NULL,
    conversation BLOB NOT NULL,
    message      BLOB NOT NULL,
    sent_ms      INTEGER NOT NULL,
    again_ms     INTEGER NOT NULL DEFAULT 0, -- when it was last sent again
    again        INTEGER NOT NULL DEFAULT 0  -- how often
) STRICT, WITHOUT ROWID;
CREATE INDEX sent_body_age ON sent_body (sent_ms);

-- What became of each device's copy of a message that was stored.
CREATE TABLE fate (
    message      BLOB NOT NULL,
    account      BLOB NOT NULL,
    device       BLOB NOT NULL,
    tag          BLOB NOT NULL,
    state        TEXT NOT NULL,
    stored_ms    INTEGER NOT NULL,
    PRIMARY KEY (message, account, device)
) STRICT, WITHOUT ROWID;
CREATE INDEX fate_tag ON fate (tag);

-- Receipts to be sent: the next envelope for the device names them all.
CREATE TABLE receipt (
    account BLOB NOT NULL,
    device  BLOB NOT NULL,
    message BLOB NOT NULL,
    PRIMARY KEY (account, device, message)
) STRICT, WITHOUT ROWID;

-- Envelopes that did not open, to be asked for again.
CREATE TABLE wanted_body (
    reference BLOB PRIMARY KEY,
    account   BLOB NOT NULL,
    device    BLOB NOT NULL,
    session   BLOB,                 -- in which it was sealed, where that is known
    asked_ms  INTEGER NOT NULL,     -- 0: not yet
    asked     INTEGER NOT NULL      -- how often
) STRICT, WITHOUT ROWID;

-- Envelopes whose sender is not confirmed yet, in order. The identity is a hash of everything that the certificate
-- claims and its signature proves, so that nobody can make another's envelopes wait, or be dropped, with their own.
CREATE TABLE held_envelope (
    number    INTEGER PRIMARY KEY AUTOINCREMENT,
    identity  BLOB NOT NULL,
    username  TEXT NOT NULL,
    envelope  BLOB NOT NULL,
    stored_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX held_identity ON held_envelope (identity, number);
