//! Prekeys: publishing one's own, claiming others'.

use sotto_proto::{
    DeviceId,
    frame::{Bundles, ClaimBundles, ErrorCode, KeyCounts, PUSH, PublishKeys, ServerFrame},
    limits::{MAX_DEVICES, MAX_ONE_TIME_KEM_PREKEYS, MAX_ONE_TIME_PREKEYS, REFILL_BELOW},
    prekey::{PrekeyBundle, PrekeyCounts, PrekeyUpload},
};

use super::{
    Core, Found, Job, Refused, StoreCall, Verification,
    connection::Ticket,
    known::AccountRef,
    step::Step,
    toil::{Requester, Toil},
};

impl Core {
    pub(super) fn publish_keys(
        &mut self,
        now_ms: u64,
        ticket: Ticket,
        publish: PublishKeys,
    ) -> Result<(), Refused> {
        let session = self.session(ticket.connection)?;
        let upload = publish.upload;
        if upload.one_time.len() > MAX_ONE_TIME_PREKEYS
            || upload.one_time_kem.len() > MAX_ONE_TIME_KEM_PREKEYS
        {
            let message =
                format!("at most {MAX_ONE_TIME_PREKEYS} and {MAX_ONE_TIME_KEM_PREKEYS} one-time prekeys");
            return Err((ErrorCode::LIMIT, message.into()));
        }
        let (account, device, device_key) = (session.account, session.device, session.device_key);
        let upload = Box::new(upload);
        let job = Job::Verify(Verification::Prekeys { account, device, device_key, upload, now_ms });
        self.toil(Toil::Publish { ticket, device, requester: Requester::Account(account) }, job)?;
        // One at a time: nobody takes the workers for itself.
        self.block(ticket.connection);
        Ok(())
    }

    pub(super) fn prekeys_verified(
        &mut self,
        now_ms: u64,
        ticket: Ticket,
        device: DeviceId,
        result: Result<Box<PrekeyUpload>, String>,
    ) {
        match result {
            Ok(upload) => {
                self.call(Step::Publish { ticket }, StoreCall::PutPrekeys(device, *upload));
            }
            Err(problem) => {
                self.refuse(ticket, (ErrorCode::BAD_KEYS, format!("the prekeys: {problem}").into()));
            }
        }
        self.unblock(now_ms, ticket.connection);
    }

    pub(super) fn published(&mut self, ticket: Ticket, counts: PrekeyCounts) {
        let action = format!("published, {} and {} one-time prekeys", counts.one_time, counts.one_time_kem);
        self.answer(ticket, &ServerFrame::KeyCounts(KeyCounts { counts }), action);
    }

    pub(super) fn claim_bundles(
        &mut self,
        now_ms: u64,
        ticket: Ticket,
        claim: ClaimBundles,
        found: &Found<'_>,
    ) -> Result<(), Refused> {
        let requester = self.session(ticket.connection)?.account;
        if claim.devices.len() > MAX_DEVICES {
            return Err((ErrorCode::LIMIT, format!("at most {MAX_DEVICES} devices at a time").into()));
        }
        let known = found
            .find(&mut self.known, &AccountRef::Id(claim.account))
            .ok_or((ErrorCode::UNKNOWN_USER, "this server has no such account".into()))?;
        let (mut devices, missing): (Vec<_>, Vec<_>) =
            claim.devices.into_iter().partition(|device| known.has_device(device));
        // Asked twice in one request, a device would give two one-time keys for one handshake.
        devices.sort_unstable();
        devices.dedup();
        if claim.one_time {
            let count = u64::try_from(devices.len()).unwrap_or(u64::MAX);
            if let Err(wait_ms) = self.claims.take(requester, count, now_ms) {
                let refused = (ErrorCode::RATE_LIMITED, "too many one-time keys claimed".into());
                self.refuse_until(ticket, refused, Some(wait_ms));
                return Ok(());
            }
        }
        let call = StoreCall::ClaimPrekeys(devices.clone(), claim.one_time, now_ms);
        self.call(Step::Claim { ticket, devices, missing }, call);
        Ok(())
    }

    pub(super) fn claimed(
        &mut self,
        ticket: Ticket,
        devices: &[DeviceId],
        mut missing: Vec<DeviceId>,
        bundles: Vec<Option<PrekeyBundle>>,
    ) {
        missing.extend(
            devices.iter().zip(&bundles).filter(|(_, bundle)| bundle.is_none()).map(|(device, _)| *device),
        );
        let bundles: Vec<PrekeyBundle> = bundles.into_iter().flatten().collect();
        // Their owners are told when few are left; who is not there sees it at the next sign-in.
        for bundle in &bundles {
            let took_one = bundle.one_time.is_some() || bundle.kem_one_time;
            if took_one && self.devices.contains_key(&bundle.device) {
                self.call(Step::Left { device: bundle.device }, StoreCall::PrekeyCounts(bundle.device));
            }
        }
        let action = format!("{} bundles given", bundles.len());
        self.answer(ticket, &ServerFrame::Bundles(Bundles { bundles, missing }), action);
    }

    pub(super) fn left(&mut self, device: DeviceId, counts: PrekeyCounts) {
        let least = usize::try_from(counts.one_time.min(counts.one_time_kem)).unwrap_or(usize::MAX);
        if least < REFILL_BELOW
            && let Some(connection) = self.devices.get(&device).copied()
        {
            let frame = ServerFrame::KeyCounts(KeyCounts { counts });
            self.hint(connection, PUSH, &frame);
        }
    }
}
