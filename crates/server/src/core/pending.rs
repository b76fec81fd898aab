//! Devices that wait to be approved: in memory only, a few an account, for a day. They have no mailbox, and nobody can
//! claim keys of theirs.

use std::collections::{HashMap, HashSet};

use sotto_proto::{
    AccountId, DeviceId, SignedDeviceList,
    frame::{
        Approved, DropPending, ErrorCode, PUSH, PendingDevice, PendingDevices, RequestDevice, ServerFrame,
    },
    limits::{MAX_PENDING_DEVICES, PENDING_DEVICE_MS},
};

use super::{
    ConnectionId, Core, Event, Found, Refused, SendClass,
    connection::Ticket,
    known::{AccountRef, Known},
};

/// Devices that wait on the whole server, some 200 bytes each: thousands of people who set up a machine on the same day.
const MAX_WAITING: usize = 10_000;

#[derive(Debug)]
struct Row {
    device: PendingDevice,
    /// Where it waits, as long as it is connected.
    connection: Option<ConnectionId>,
}

/// The devices that wait.
#[derive(Debug, Default)]
pub(super) struct Pending {
    accounts: HashMap<AccountId, Vec<Row>>,
    count: usize,
}

impl Pending {
    fn devices(&self, account: &AccountId) -> Vec<PendingDevice> {
        let rows = self.accounts.get(account).map(Vec::as_slice).unwrap_or_default();
        rows.iter().map(|row| row.device.clone()).collect()
    }

    /// Takes the place of an earlier request of the same device, or the next one.
    fn add(&mut self, account: AccountId, row: Row) -> Result<(), Refused> {
        self.remove(&account, &row.device.device);
        if self.count >= MAX_WAITING {
            let message = "too many devices wait to be approved on this server; try again tomorrow";
            return Err((ErrorCode::LIMIT, message.into()));
        }
        let rows = self.accounts.entry(account).or_default();
        if rows.len() >= MAX_PENDING_DEVICES {
            let message = format!(
                "{MAX_PENDING_DEVICES} devices of this account wait already; approve or drop one of them first"
            );
            return Err((ErrorCode::LIMIT, message.into()));
        }
        rows.push(row);
        self.count += 1;
        Ok(())
    }

    fn remove(&mut self, account: &AccountId, device: &DeviceId) -> Option<Row> {
        let rows = self.accounts.get_mut(account)?;
        let place = rows.iter().position(|row| row.device.device == *device)?;
        let row = rows.remove(place);
        self.count -= 1;
        if rows.is_empty() {
            self.accounts.remove(account);
        }
        Some(row)
    }

    /// The account is gone.
    pub(super) fn forget(&mut self, account: &AccountId) {
        self.count -= self.accounts.remove(account).map_or(0, |rows| rows.len());
    }

    /// The connection is gone; the request stays.
    pub(super) fn disconnected(&mut self, account: &AccountId, connection: ConnectionId) {
        for row in self.accounts.get_mut(account).into_iter().flatten() {
            if row.connection == Some(connection) {
                row.connection = None;
            }
        }
    }

    /// The clock was set back: what asked in its future asked now.
    pub(super) fn set_back(&mut self, now_ms: u64) {
        for row in self.accounts.values_mut().flatten() {
            row.device.requested_ms = row.device.requested_ms.min(now_ms);
        }
    }

    /// What has waited for too long.
    fn due(&self, now_ms: u64) -> Vec<(AccountId, DeviceId)> {
        let due = |row: &&Row| row.device.requested_ms.saturating_add(PENDING_DEVICE_MS) <= now_ms;
        let of = |(account, rows): (&AccountId, &Vec<Row>)| {
            rows.iter().filter(due).map(|row| (*account, row.device.device)).collect::<Vec<_>>()
        };
        self.accounts.iter().flat_map(of).collect()
    }
}

impl Core {
    pub(super) fn request_device(
        &mut self,
        now_ms: u64,
        ticket: Ticket,
        request: &RequestDevice,
        found: &Found<'_>,
    ) -> Result<(), Refused> {
        let Some(connection) = self.connections.get(&ticket.connection) else { return Ok(()) };
        if connection.session.is_some() {
            return Err((ErrorCode::OUT_OF_ORDER, "a device has signed in on this connection".into()));
        }
        let (account, _) =
            connection.proven.ok_or((ErrorCode::LOGIN_NEEDED, "a login by password comes first".into()))?;
        let known = self.own(found, account)?;
        let list = known.list.list();
        let device = request.device;
        if list.revoked(&device) {
            return Err((ErrorCode::COLLISION, "this device was removed; make it a new one".into()));
        }
        // It may have been approved while it was away.
        if let Some(listed) = list.device(&device) {
            let listed = listed.certificate();
            if (listed.device_key, listed.identity_key) != (request.device_key, request.identity_key) {
                return Err((ErrorCode::COLLISION, "the device's id is in use; make another".into()));
            }
            self.answer(ticket, &ServerFrame::Done, "approved before");
            let approved = Approved { list: known.list.as_bytes().to_vec().into() };
            self.hint(ticket.connection, PUSH, &ServerFrame::Approved(approved));
            return Ok(());
        }
        let known_before = self.pending.devices(&account);
        // One connection waits for one device.
        self.withdraw_own(ticket.connection);
        let device = PendingDevice {
            device,
            device_key: request.device_key,
            identity_key: request.identity_key,
            requested_ms: now_ms,
        };
        let row = Row { device, connection: Some(ticket.connection) };
        let added = self.pending.add(account, row);
        if let Some(connection) = self.connections.get_mut(&ticket.connection) {
            connection.pending = added.is_ok().then_some((account, request.device));
        }
        if added.is_ok() {
            let action = format!("waits to be approved [ {} ]", known.record.username);
            self.answer(ticket, &ServerFrame::Done, action);
        }
        // A device that only comes again is no news.
        let asks = |device: &PendingDevice| (device.device, device.device_key, device.identity_key);
        let before: HashSet<_> = known_before.iter().map(asks).collect();
        if self.pending.devices(&account).iter().map(asks).collect::<HashSet<_>>() != before {
            self.tell_pending(&known);
        }
        added
    }

    pub(super) fn list_pending(&mut self, ticket: Ticket) -> Result<(), Refused> {
        let account = self.session(ticket.connection)?.account;
        let devices = self.pending.devices(&account);
        let action = format!("{} devices wait", devices.len());
        self.answer(ticket, &ServerFrame::PendingDevices(PendingDevices { devices }), action);
        Ok(())
    }

    pub(super) fn drop_pending(
        &mut self,
        ticket: Ticket,
        drop: &DropPending,
        found: &Found<'_>,
    ) -> Result<(), Refused> {
        let account = self.session(ticket.connection)?.account;
        let known = self.own(found, account)?;
        let row = self.pending.remove(&account, &drop.device);
        let action = if row.is_some() { "a waiting device dropped" } else { "no such device waits" };
        self.answer(ticket, &ServerFrame::Done, action);
        if let Some(row) = row {
            self.turn_away(&row, "the account's owner did not approve this device");
            self.tell_pending(&known);
        }
        Ok(())
    }

    /// Tells the account's devices who waits, now that it is different.
    fn tell_pending(&mut self, known: &Known) {
        let devices = self.pending.devices(&known.record.account);
        let frame = ServerFrame::PendingDevices(PendingDevices { devices });
        for connection in self.connections_of(&known.record.devices) {
            self.hint(connection, PUSH, &frame);
        }
    }

    /// Tells a device that has signed in who waits.
    pub(super) fn tell_waiting(&mut self, connection: ConnectionId, account: &AccountId) {
        let devices = self.pending.devices(account);
        if !devices.is_empty() {
            self.hint(connection, PUSH, &ServerFrame::PendingDevices(PendingDevices { devices }));
        }
    }

    pub(super) fn connections_of(&self, devices: &[DeviceId]) -> Vec<ConnectionId> {
        devices.iter().filter_map(|device| self.devices.get(device).copied()).collect()
    }

    /// Ends the waiting of a device's connection.
    fn turn_away(&mut self, row: &Row, message: &'static str) {
        if let Some(connection) = row.connection {
            self.close_with(connection, (ErrorCode::UNKNOWN_DEVICE, message.into()));
        }
    }

    /// Takes away what a connection waits for, without a word to it.
    pub(super) fn withdraw_own(&mut self, connection: ConnectionId) {
        let waits = self.connections.get_mut(&connection).and_then(|state| state.pending.take());
        let Some((account, device)) = waits else { return };
        self.pending.remove(&account, &device);
        if let Some(known) = self.known.find(&AccountRef::Id(account)) {
            self.tell_pending(&known);
        }
    }

    /// An account has a new device list: who waited and stands in it now is told so.
    pub(super) fn approve_waiting(&mut self, known: &Known, list: &SignedDeviceList) {
        let account = known.record.account;
        let mut changed = false;
        for device in self.pending.devices(&account) {
            let listed = list.list().device(&device.device).map(|signed| {
                let certificate = signed.certificate();
                (certificate.device_key, certificate.identity_key)
            });
            if listed.is_none() && !list.list().revoked(&device.device) {
                continue;
            }
            changed = true;
            let Some(row) = self.pending.remove(&account, &device.device) else { continue };
            if listed != Some((device.device_key, device.identity_key)) {
                let name = known.record.username.clone();
                let action = "was given other keys than it waits with: its request is dropped";
                self.log(Event::Device { name, action });
                self.turn_away(&row, "the account's list has other keys for this device; begin again");
                continue;
            }
            let Some(connection) = row.connection else { continue };
            if let Some(state) = self.connections.get_mut(&connection) {
                state.pending = None;
            }
            let approved = Approved { list: list.as_bytes().to_vec().into() };
            self.send(connection, PUSH, &ServerFrame::Approved(approved), SendClass::Notice);
        }
        if changed && let Some(known) = self.known.find(&AccountRef::Id(account)) {
            self.tell_pending(&known);
        }
    }

    /// Drops requests that nobody has answered for a day.
    pub(super) fn sweep_pending(&mut self, now_ms: u64) {
        for (account, device) in self.pending.due(now_ms) {
            if let Some(row) = self.pending.remove(&account, &device) {
                self.turn_away(&row, "nobody approved this device within a day; begin again");
            }
            if let Some(known) = self.known.find(&AccountRef::Id(account)) {
                self.tell_pending(&known);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use sotto_proto::{DeviceKey, IdentityKey};

    use super::*;

    fn row(number: usize) -> Row {
        let mut id = [0; 16];
        for (to, from) in id.iter_mut().zip(number.to_be_bytes()) {
            *to = from;
        }
        let device = PendingDevice {
            device: DeviceId(id),
            device_key: DeviceKey([1; 32]),
            identity_key: IdentityKey([2; 32]),
            requested_ms: 0,
        };
        Row { device, connection: None }
    }

    #[test]
    fn the_whole_server_has_a_bound_and_what_goes_makes_room() {
        let mut pending = Pending::default();
        let account = |number: usize| AccountId(row(number / MAX_PENDING_DEVICES).device.device.0);
        for number in 0..MAX_WAITING {
            assert!(pending.add(account(number), row(number)).is_ok());
        }
        let another = AccountId([9; 16]);
        assert!(matches!(pending.add(another, row(0)), Err((ErrorCode::LIMIT, _))));
        pending.forget(&account(0));
        assert!(pending.add(another, row(0)).is_ok());
        assert_eq!(pending.count, MAX_WAITING - MAX_PENDING_DEVICES + 1);
        assert!(pending.remove(&another, &row(0).device.device).is_some());
        assert!(!pending.accounts.contains_key(&another), "nothing is left behind");
        assert_eq!(pending.due(PENDING_DEVICE_MS).len(), pending.count);
    }
}
