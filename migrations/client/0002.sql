-- The client's store, version 2: the key that proves the account's password to a server, so that an account that the
-- server lost can be registered again without asking for the password; whom the account blocks; and what its devices are
-- called.

CREATE TABLE credential (
    server   BLOB PRIMARY KEY,  -- the server's id: a key is good for one server only
    auth_key BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- Accounts that are blocked, and those that were: of two devices that disagree, the later clock counts.
CREATE TABLE block (
    account  BLOB PRIMARY KEY,
    blocked  INTEGER NOT NULL,
    clock_ms INTEGER NOT NULL,
    told     INTEGER NOT NULL DEFAULT 0  -- the server has answered that it knows
) STRICT, WITHOUT ROWID;

-- The names that the user gave the devices of this account.
CREATE TABLE device_name (
    device   BLOB PRIMARY KEY,
    name     TEXT NOT NULL,
    clock_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
