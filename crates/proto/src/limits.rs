//! Every limit of the protocol, with its reason. Servers may configure those marked *default* downwards or upwards.

/// Characters of a username: a line of a terminal shows two and a time.
pub const MAX_NAME_LENGTH: usize = 32;

/// Bytes of a frame's body before login: the largest such frame is Register with its prekeys left out.
pub const MAX_FRAME_BEFORE_LOGIN: usize = 16 * 1024;
/// Bytes of a frame's body after login: a Submit to sixteen devices with the largest content fits.
pub const MAX_FRAME: usize = 1024 * 1024;
/// Bytes of all unfinished frames of all connections together: a flood of slow senders cannot take more memory.
pub const UNFINISHED_FRAMES_BUDGET: usize = 256 * 1024 * 1024;

/// Bytes of content before padding; longer content goes as a file.
pub const MAX_CONTENT: usize = 32 * 1024;
/// Bytes of one envelope: the largest content, padded, with a handshake and a KEM step, is below 40 KiB.
pub const MAX_ENVELOPE: usize = 48 * 1024;
/// The least size in bytes of the padded body of an envelope: receipts and short texts look alike.
pub const PADDING_FLOOR: usize = 2048;
/// Bytes to which a certificate is padded in part 1 of an envelope: the longest certificate fits.
pub const CERTIFICATE_PADDED: usize = 320;
/// Bytes of a whole envelope whose padded body has floor size; the last places of a mailbox are for these.
pub const FLOOR_ENVELOPE: usize = 1 + 32 + 4 + CERTIFICATE_PADDED + 16 + 4 + PADDING_FLOOR + 16;

/// Unrevoked devices an account may have.
pub const MAX_DEVICES: usize = 8;
/// Revocations a device list keeps: one is permanent, so this bounds how often an account can change machines.
pub const MAX_REVOCATIONS: usize = 1024;
/// Bytes of an encoded, signed device list.
pub const MAX_DEVICE_LIST: usize = 64 * 1024;
/// Envelopes in one Submit. A sender has one Submit per conversation under way, so that nothing overtakes a refused
/// message; putting many messages into one keeps that fast. The frame's limit bounds the bytes; a Submit of one message
/// to all devices of two accounts fits it at any size.
pub const MAX_ENVELOPES_PER_SUBMIT: usize = 256;
/// Device lists in one request or response.
pub const MAX_LISTS: usize = 8;

/// One-time X25519 prekeys a device keeps on the server.
pub const MAX_ONE_TIME_PREKEYS: usize = 100;
/// One-time ML-KEM prekeys a device keeps on the server (each is 1.2 KiB).
pub const MAX_ONE_TIME_KEM_PREKEYS: usize = 50;
/// Below this the client refills.
pub const REFILL_BELOW: usize = 20;

/// Milliseconds of a day.
pub const DAY_MS: u64 = 24 * 60 * 60 * 1000;
/// How long signed and last-resort prekeys are valid.
pub const PREKEY_LIFETIME_MS: u64 = 180 * DAY_MS;
/// How often the client replaces its signed prekeys.
pub const PREKEY_ROTATION_MS: u64 = 7 * DAY_MS;
/// *Default.* How long the server keeps an envelope nobody fetched.
pub const RETENTION_MS: u64 = 30 * DAY_MS;
/// The longest that a server can be set to keep it: a message that waits longer than any prekey lives opens for nobody.
pub const MAX_RETENTION_MS: u64 = 150 * DAY_MS;
/// What the client adds to the retention before it forgets private prekeys, old sessions and body hashes: it covers
/// clocks that disagree and messages that waited in an outbox.
pub const RETENTION_MARGIN_MS: u64 = 30 * DAY_MS;
/// How much longer than its envelope the server keeps a fate tag: as long as an outbox entry lives.
pub const FATE_MARGIN_MS: u64 = 14 * DAY_MS;
/// How long the server remembers a submission id: an outbox entry's life and a week.
pub const SUBMISSION_MEMORY_MS: u64 = 21 * DAY_MS;
/// How long an entry waits in the outbox before it expires.
pub const OUTBOX_LIFETIME_MS: u64 = 14 * DAY_MS;

/// *Default.* Envelopes in one mailbox.
pub const MAILBOX_ENVELOPES: u64 = 10_000;
/// *Default.* Bytes in one mailbox.
pub const MAILBOX_BYTES: u64 = 256 * 1024 * 1024;
/// Of a mailbox's places, those only envelopes of floor size may take, so that receipts find room.
pub const MAILBOX_FLOOR_PLACES: u64 = 2_000;
/// One sending account may have at most one part in this many of a mailbox's places waiting.
pub const MAILBOX_SENDER_SHARE: u64 = 5;

/// Highest handshake generation; far above any honest count, far below wrapping.
pub const MAX_GENERATION: u64 = 1 << 32;
/// Message keys skipped in one step and kept per session: the cap of a mailbox, the most that can be overtaken.
pub const MAX_SKIPPED_KEYS: usize = 10_000;
/// Sessions kept per remote device.
pub const MAX_SESSIONS_PER_DEVICE: usize = 20;
/// A session in which nothing came for this long carries no new message.
pub const UNANSWERED_SESSION_MS: u64 = 7 * DAY_MS;
/// How long a session is kept after its last use, milliseconds: what was sent in it last waits in an outbox and at the server,
/// is answered in it for as long as it carries messages, and the answer waits as long; and a week for clocks that disagree.
pub const fn session_kept_ms(retention_ms: u64) -> u64 {
    let waits_ms = retention_ms.saturating_add(OUTBOX_LIFETIME_MS);
    waits_ms.saturating_mul(2).saturating_add(UNANSWERED_SESSION_MS + 7 * DAY_MS)
}
/// A new sending chain offers a KEM key after this many messages since the last KEM step.
pub const KEM_STEP_MESSAGES: u32 = 50;
/// A new sending chain offers a KEM key after this long since the last KEM step.
pub const KEM_STEP_MS: u64 = DAY_MS;

/// Keep-alive: a ping after this long without traffic.
pub const PING_INTERVAL_MS: u64 = 30_000;
/// A peer that is silent for this long (two pings) is dropped.
pub const PEER_SILENCE_MS: u64 = 75_000;
/// Requests of one connection without an answer yet: deep enough that the disk, not the round trip, is the limit.
pub const MAX_PIPELINED: usize = 64;
/// Links in a server's key chain: a rotation a month for ten years. The chain is sent before login and fits such a frame.
pub const MAX_CHAIN: usize = 128;
/// Users in one invitation to a live chat: more people than can talk at once.
pub const MAX_INVITED: usize = 16;
/// How long the invited may take to answer.
pub const INVITE_TIMEOUT_MS: u64 = 60_000;
/// Devices of one account that wait to be approved, so that a guessed password cannot fill a screen.
pub const MAX_PENDING_DEVICES: usize = 3;
/// How long a device waits to be approved.
pub const PENDING_DEVICE_MS: u64 = DAY_MS;
/// Accounts that one account may block.
pub const MAX_BLOCKED: usize = 1_000;
/// How long a reset waits while a device of the account signed in as lately as that.
pub const RESET_DELAY_MS: u64 = 7 * DAY_MS;
/// Names in one page of the directory.
pub const MAX_USERS_PER_PAGE: usize = 500;
/// Fate tags or submission ids in one question.
pub const MAX_FATES_PER_QUERY: usize = 1_000;
/// Failed body hashes in one re-send request, and message ids in one receipt.
pub const MAX_HASHES_PER_REQUEST: usize = 500;
