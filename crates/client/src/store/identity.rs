//! Who this profile is, which server it belongs to, and how far it has read its mailbox: rows of `meta`.

use rusqlite::params;
use sotto_proto::{
    AccountId, AccountKey, Address, DeviceId, Incarnation, QueueNumber, ServerId, SignedCertificate,
    Username,
    frame::AuthKey,
    wire::{Reader, Writer},
};
use zeroize::Zeroizing;

use super::{StoreError, Tx, array, column};

/// This device of this account.
pub struct Identity {
    /// The account's name.
    pub username: Username,
    /// The account's id.
    pub account: AccountId,
    /// The account's public key.
    pub account_key: AccountKey,
    /// The account key's seed, where this device holds it.
    pub account_seed: Option<Zeroizing<[u8; 32]>>,
    /// This device's id.
    pub device: DeviceId,
    /// This device's private keys, as `sotto-crypto` stores them.
    pub device_secret: Zeroizing<Vec<u8>>,
    /// This device's certificate.
    pub certificate: SignedCertificate,
    /// Whether the server has confirmed the account and this device.
    pub registered: bool,
}

/// The server this profile belongs to, and the newest key it has shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerPin {
    /// Where it is; without fingerprint.
    pub address: Address,
    /// The head of its chain.
    pub server_id: ServerId,
    /// The fingerprint of the newest key seen.
    pub newest: [u8; 32],
    /// That key's number in the chain; an earlier one is never accepted again.
    pub number: u64,
}

/// How far this device has read its mailbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    /// Of the mailbox; another one is another life of it.
    pub incarnation: Incarnation,
    /// Everything up to here is in this store.
    pub number: QueueNumber,
}

impl Tx<'_> {
    pub(super) fn meta(&self, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, StoreError> {
        self.one("SELECT value FROM meta WHERE name = ?1", params![name], |row| {
            column::<Vec<u8>>(row, 0).map(Zeroizing::new)
        })
    }

    pub(super) fn set_meta(&self, name: &str, value: &[u8]) -> Result<(), StoreError> {
        self.run(
            "INSERT INTO meta (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = ?2",
            params![name, value],
        )?;
        Ok(())
    }

    /// A number that a name stands for; 0 where none was kept.
    pub fn number(&self, name: &str) -> Result<u64, StoreError> {
        Ok(match self.meta(name)? {
            None => 0,
            Some(bytes) => u64::from_be_bytes(
                <[u8; 8]>::try_from(bytes.as_slice())
                    .map_err(|_| StoreError::Damaged(format!("meta {name}")))?,
            ),
        })
    }

    /// Keeps a number under a name.
    pub fn set_number(&self, name: &str, value: u64) -> Result<(), StoreError> {
        self.set_meta(name, &value.to_be_bytes())
    }

    /// Forgets a number: it counts as 0.
    pub fn forget_number(&self, name: &str) -> Result<(), StoreError> {
        self.run("DELETE FROM meta WHERE name = ?1", params![name])?;
        Ok(())
    }

    /// Who this profile is; `None` before registration or login was begun.
    pub fn identity(&self) -> Result<Option<Identity>, StoreError> {
        let Some(bytes) = self.meta("identity")? else { return Ok(None) };
        let mut reader = Reader::new(&bytes);
        let version = reader.u8()?;
        if version != 1 {
            return Err(StoreError::TooNew(format!("the identity record is of version {version}")));
        }
        let registered = reader.u8()? != 0;
        let account_seed = match reader.u8()? {
            0 => None,
            _ => Some(Zeroizing::new(reader.array()?)),
        };
        let device_secret = Zeroizing::new(reader.bytes(1024)?.to_vec());
        let certificate = SignedCertificate::parse(reader.bytes(1024)?)
            .map_err(|error| StoreError::Damaged(format!("own certificate: {error}")))?;
        reader.finish()?;
        let own = certificate.certificate();
        Ok(Some(Identity {
            username: own.username.clone(),
            account: own.account,
            account_key: own.account_key,
            account_seed,
            device: own.device,
            device_secret,
            certificate,
            registered,
        }))
    }

    /// Says who this profile is, in place of what it was.
    pub fn save_identity(&self, identity: &Identity) -> Result<(), StoreError> {
        let mut out = Writer::new();
        out.u8(1).u8(u8::from(identity.registered));
        match &identity.account_seed {
            None => out.u8(0),
            Some(seed) => out.u8(1).raw(seed.as_slice()),
        };
        out.bytes(&identity.device_secret).bytes(identity.certificate.as_bytes());
        self.set_meta("identity", &Zeroizing::new(out.finish()))
    }

    /// Forgets a registration that the server never confirmed, and everything that hangs on it.
    pub fn forget_unregistered(&self) -> Result<(), StoreError> {
        self.run("DELETE FROM meta WHERE name IN ('identity', 'server', 'waiting device', 'reset')", [])?;
        self.run("DELETE FROM credential", [])?;
        self.run("DELETE FROM contact", [])?;
        self.run("DELETE FROM prekey", [])?;
        Ok(())
    }

    /// The server has confirmed the account and this device.
    pub fn set_registered(&self) -> Result<(), StoreError> {
        if let Some(mut identity) = self.identity()? {
            identity.registered = true;
            self.save_identity(&identity)?;
        }
        Ok(())
    }

    /// The server this profile belongs to.
    pub fn server(&self) -> Result<Option<ServerPin>, StoreError> {
        let Some(bytes) = self.meta("server")? else { return Ok(None) };
        let mut reader = Reader::new(&bytes);
        let version = reader.u8()?;
        if version != 1 {
            return Err(StoreError::TooNew(format!("the server record is of version {version}")));
        }
        let address = reader
            .str(512)?
            .parse()
            .map_err(|error| StoreError::Damaged(format!("the server's address: {error}")))?;
        let pin = ServerPin {
            address,
            server_id: ServerId(reader.array()?),
            newest: reader.array()?,
            number: reader.u64()?,
        };
        reader.finish()?;
        Ok(Some(pin))
    }

    /// Pins the server.
    pub fn set_server(&self, pin: &ServerPin) -> Result<(), StoreError> {
        let bytes = Writer::new()
            .u8(1)
            .str(&pin.address.host_port())
            .raw(&pin.server_id.0)
            .raw(&pin.newest)
            .u64(pin.number)
            .finish();
        self.set_meta("server", &bytes)
    }

    /// The key that proves the account's password to this server; `None` in a profile of a version that did not keep it.
    pub fn auth_key(&self, server: &ServerId) -> Result<Option<AuthKey>, StoreError> {
        self.one("SELECT auth_key FROM credential WHERE server = ?1", params![server.0], |row| {
            array(row, 0).map(AuthKey)
        })
    }

    /// Keeps the key that proves the account's password to a server, in place of any other.
    pub fn set_auth_key(&self, server: &ServerId, key: &AuthKey) -> Result<(), StoreError> {
        self.run("DELETE FROM credential", [])?;
        self.run("INSERT INTO credential (server, auth_key) VALUES (?1, ?2)", params![server.0, key.0])?;
        Ok(())
    }

    /// How far this device has read; `None` before its first connection.
    pub fn cursor(&self) -> Result<Option<Cursor>, StoreError> {
        let Some(bytes) = self.meta("cursor")? else { return Ok(None) };
        let mut reader = Reader::new(&bytes);
        let cursor = Cursor { incarnation: Incarnation(reader.array()?), number: QueueNumber(reader.u64()?) };
        reader.finish()?;
        Ok(Some(cursor))
    }

    /// Moves the cursor.
    pub fn set_cursor(&self, cursor: &Cursor) -> Result<(), StoreError> {
        self.set_meta("cursor", &Writer::new().raw(&cursor.incarnation.0).u64(cursor.number.0).finish())
    }
}
