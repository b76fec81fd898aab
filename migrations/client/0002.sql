-- The client's store, version 2: the key that proves the account's password to a server, so that an account that the
-- server lost can be registered again without asking for the password.

CREATE TABLE credential (
    server   BLOB PRIMARY KEY,  -- the server's id: a key is good for one server only
    auth_key BLOB NOT NULL
) STRICT, WITHOUT ROWID;
