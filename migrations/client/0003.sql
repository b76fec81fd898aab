-- The client's store, version 3: which receipts an envelope held, so that they are sent again where it could not be read.

CREATE TABLE sent_receipt (
    reference BLOB NOT NULL REFERENCES sent_body (reference) ON DELETE CASCADE,
    message   BLOB NOT NULL,
    PRIMARY KEY (reference, message)
) STRICT, WITHOUT ROWID;
