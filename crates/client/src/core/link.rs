//! The connection: the server's chain, the opening, the login, and what comes after in which order.

use sotto_proto::{
    KeyChain, QueueNumber, ServerId, VersionRange,
    frame::{
        Ack, Attach, ClientFrame, DeviceIn, ErrorCode, ErrorReply, Hello, MailboxState, PUSH, RawFrame,
        ServerFrame, Welcome,
    },
};

use super::{
    Core, CoreError, Drained, Output, Step, account, chats, enrol::Login, requests::Asked,
    restore::Restoring, retention::note_retention,
};
use crate::{
    api::{ClientError, Connection, ErrorKind, Event, Fate, Reply},
    store::{Cursor, ServerPin},
};

/// Where the connection stands.
pub(crate) enum Link {
    /// There is none.
    Down,
    /// TLS stands; the server's chain has to come first.
    Chain { spki: Vec<u8>, exporter: [u8; 32] },
    /// Hello is out.
    Opening { server: ServerId, exporter: [u8; 32] },
    /// DeviceLogin is out, or what has to come before it.
    LoggingIn(Login),
    /// Attach is out, or answered: everything works.
    Up,
    /// Not to be taken up again.
    Stopped,
}

/// How often a busy server may refuse keys before its user is told: a minute, about.
const QUIETLY: u32 = 2;
/// The name of the number in `meta` up to which holes in the mailbox have been shown.
const HOLE: &str = "hole";
/// The name of the number in `meta` of when a row last told of one.
const HOLE_ROW: &str = "hole row";

impl Core {
    /// A TLS session stands. Nothing is sent before the server's chain has been verified.
    pub(super) fn connected(&mut self, step: &mut Step<'_, '_>, spki: Vec<u8>, exporter: [u8; 32]) {
        self.disconnected(step);
        if !matches!(self.link, Link::Stopped) {
            self.link = Link::Chain { spki, exporter };
        }
    }

    /// The connection is gone: everything that only it meant is forgotten, and who waits for an answer is told.
    pub(super) fn disconnected(&mut self, step: &mut Step<'_, '_>) {
        if !matches!(self.link, Link::Stopped) {
            self.link = Link::Down;
        }
        // What this batch wanted to say on it must not be said on the next one.
        step.out.retain(|output| !matches!(output, Output::Send { .. }));
        let asked = self.requests.clear();
        if asked.iter().any(|asked| matches!(asked, Asked::Publish)) {
            // Whether the server has the keys is not known: the next connection need not wait to publish more.
            self.refilled_ms = 0;
        }
        for asked in asked {
            if let Some(command) = asked.command() {
                step.out.push(Output::Reply(command, Err(lost(&asked))));
            }
        }
        for (command, _, _) in self.waiting.drain(..) {
            let error = ClientError::new(ErrorKind::Unreachable, "the connection to the server was lost");
            step.out.push(Output::Reply(command, Err(error)));
        }
        self.chats_lost(step);
        self.blocking.clear();
        self.blocks_again_ms = 0;
        self.lanes.clear();
        self.lookups.clear();
        self.claiming.clear();
        self.keyless.clear();
        self.left_out.clear();
        self.bad_keys.clear();
        self.refusing.clear();
        self.hand_over.clear();
        self.doubted.clear();
        self.lost.clear();
        self.fates_again_ms = None;
        if self.restoring == Restoring::Noticed {
            self.restoring = Restoring::UnderWay;
        }
        self.password_again = account::AskAgain::default();
        self.ack_due = false;
        self.drained = Drained::No;
        self.connection = Connection::Connecting;
    }

    /// Whether requests can be sent.
    pub(super) fn up(&self) -> bool {
        matches!(self.link, Link::Up)
    }

    /// A frame from the server.
    pub(super) fn frame(&mut self, step: &mut Step<'_, '_>, raw: &RawFrame) -> Result<(), CoreError> {
        let frame = match ServerFrame::decode(raw.kind, &raw.payload) {
            Ok(Some(frame)) => frame,
            // A newer server may push what this program does not know; an answer of an unknown kind answers nothing.
            Ok(None) => return Ok(()),
            Err(error) => {
                let error =
                    ClientError::new(ErrorKind::Version, "the server sent a frame that cannot be read")
                        .cause(error)
                        .hint("update sotto, or ask the server's operator to");
                self.close(step, error, true);
                return Ok(());
            }
        };
        if raw.request == PUSH {
            return self.push(step, frame);
        }
        let Some(asked) = self.requests.take(raw.request) else { return Ok(()) };
        match (asked, frame) {
            (Asked::Hello, ServerFrame::Welcome(welcome)) => return self.greeted(step, &welcome),
            (Asked::Login, ServerFrame::DeviceIn(device)) => return self.logged_in(step, &device),
            (Asked::Register, ServerFrame::Done) => return self.enrolled(step),
            (Asked::Prove, ServerFrame::AccountIn(account)) => return self.proven(step, &account),
            (Asked::HandOver, ServerFrame::Done) => self.handed_over(step),
            (Asked::Attach, ServerFrame::Done) => self.set_connection(step, Connection::Online),
            (Asked::Publish, ServerFrame::KeyCounts(counts)) => {
                self.keys_refused = 0;
                return self.key_counts(step, &counts.counts, false);
            }
            (Asked::Counts, ServerFrame::KeyCounts(counts)) => {
                return self.key_counts(step, &counts.counts, true);
            }
            (Asked::Lists { names, accounts }, ServerFrame::Lists(lists)) => {
                return self.served_lists(step, &names, &accounts, &lists.lists);
            }
            (Asked::Bundles { account, devices, for_requests }, ServerFrame::Bundles(bundles)) => {
                return self.bundles(step, account, &devices, for_requests, bundles);
            }
            (Asked::Submit { lane, submission }, ServerFrame::Submitted(submitted)) => {
                return self.submitted(step, lane, &submission, &submitted);
            }
            (Asked::Submit { lane, submission }, ServerFrame::StaleDevices(stale)) => {
                return self.stale(step, lane, &submission, &stale);
            }
            (Asked::Submission { submission }, ServerFrame::SubmissionState(state)) => {
                return self.submission_state(step, &submission, state.submitted.as_ref());
            }
            (Asked::Copies { submission, tags }, ServerFrame::Fates(fates)) => {
                return self.copies_state(step, &submission, &tags, &fates.states);
            }
            (Asked::Fates { tags }, ServerFrame::Fates(fates)) => {
                return self.fates(step, &tags, &fates.states);
            }
            (Asked::Users { command, so_far }, ServerFrame::Users(users)) => {
                self.users_page(step, command, so_far, users);
            }
            (Asked::Chat { command, .. }, ServerFrame::Inviting(inviting)) => {
                self.inviting(step, command, &inviting);
            }
            (Asked::Chat { command, asked }, ServerFrame::Done) => self.chat_done(step, command, asked),
            (Asked::Block { block }, ServerFrame::Done) => return self.block_told(step, &block),
            (Asked::Pending { what }, ServerFrame::PendingDevices(pending)) => {
                return self.pending(step, what, pending);
            }
            (Asked::Password { job, key }, ServerFrame::AccountIn(proven)) => {
                return self.password_proven(step, job, &key, &proven);
            }
            (Asked::OldPassword { command, .. }, ServerFrame::AccountIn(_)) => {
                step.out.push(Output::PasswordProven(command));
            }
            (Asked::OwnList { job }, ServerFrame::Lists(lists)) => {
                return self.looked_up_own(step, job, &lists);
            }
            (Asked::ReplaceList { job, list }, ServerFrame::Done) => {
                return self.list_replaced(step, &job, &list);
            }
            (Asked::Drop { command }, ServerFrame::Done) => {
                step.out.push(Output::Reply(command, Ok(Reply::Done)));
            }
            (Asked::RefuseReset { command }, ServerFrame::Done) => return Self::reset_refused(step, command),
            (Asked::SetPassword { attempt }, ServerFrame::Done) => return self.password_set(step, attempt),
            (asked, ServerFrame::Error(error)) => return self.refused(step, asked, &error),
            // Done to what needs no more; or an answer that does not fit, which answers nothing but ends the wait.
            (asked, _) => {
                if let Some(command) = asked.command() {
                    let text = "the server answered what this program does not understand";
                    let error = ClientError::new(ErrorKind::Version, text).hint("update sotto");
                    step.out.push(Output::Reply(command, Err(error)));
                }
            }
        }
        Ok(())
    }

    fn push(&mut self, step: &mut Step<'_, '_>, frame: ServerFrame) -> Result<(), CoreError> {
        match frame {
            ServerFrame::Chain(chain) => return self.chain(step, &chain),
            ServerFrame::Deliver(deliver) if self.up() => {
                self.hole(step, deliver.lost_through)?;
                return self.deliver(step, deliver.number, deliver.stored_ms, &deliver.envelope);
            }
            ServerFrame::Drained(drained) if self.up() => {
                self.hole(step, drained.lost_through)?;
                self.drained = Drained::Untold;
            }
            ServerFrame::Taken(taken) if self.up() => {
                for tag in &taken.tags {
                    self.fate_by_tag(step, tag, Fate::Taken)?;
                }
            }
            ServerFrame::KeyCounts(counts) if self.up() => {
                return self.key_counts(step, &counts.counts, true);
            }
            ServerFrame::Invited(invited) if self.up() => return self.invited(step, invited),
            ServerFrame::InviteEnded(ended) if self.up() => self.invite_ended(step, ended),
            ServerFrame::ChatStarted(started) if self.up() => self.chat_started(step, started),
            ServerFrame::ChatEnded(ended) if self.up() => self.chat_ended(step, ended),
            ServerFrame::PendingDevices(pending) if self.up() => Self::devices_wait(step, &pending),
            ServerFrame::Reset(state) if self.up() => return self.reset_state(step, state),
            ServerFrame::ListChanged(changed) if self.up() => {
                return self.own_list_pushed(step, &changed.list);
            }
            ServerFrame::Replaced => {
                let error = ClientError::new(
                    ErrorKind::ProfileInUse,
                    "another connection of this device has taken this one's place",
                )
                .hint("a copy of this profile is running somewhere; sign that machine in as a device of its own");
                self.close(step, error, false);
            }
            ServerFrame::Stopping => {
                let error = ClientError::new(ErrorKind::Unreachable, "the server is stopping");
                self.close(step, error, true);
            }
            ServerFrame::Error(error) => {
                let error = self.translate(&error);
                let reconnect = matches!(error.kind, ErrorKind::Limit | ErrorKind::Unreachable);
                self.close(step, error, reconnect);
            }
            _ => {}
        }
        Ok(())
    }

    /// The chain comes first: it must lead to the key of this session and hold the pinned key.
    fn chain(&mut self, step: &mut Step<'_, '_>, chain: &KeyChain) -> Result<(), CoreError> {
        let Link::Chain { spki, exporter } = &self.link else { return Ok(()) };
        let exporter = *exporter;
        let pin = step.tx.server()?.ok_or_else(|| CoreError::Bug("the profile has no server".to_owned()))?;
        if let Err(error) = check_chain(chain, spki, &pin) {
            self.close(step, error, false);
            return Ok(());
        }
        let (newest, number) = chain.newest();
        if newest != pin.newest {
            step.tx.set_server(&ServerPin { newest, number, ..pin })?;
        }
        self.link = Link::Opening { server: chain.server_id(), exporter };
        let hello = Hello {
            versions: VersionRange::OURS,
            software: concat!("sotto ", env!("CARGO_PKG_VERSION")).to_owned(),
        };
        self.send(step, Asked::Hello, ClientFrame::Hello(hello));
        Ok(())
    }

    fn greeted(&mut self, step: &mut Step<'_, '_>, welcome: &Welcome) -> Result<(), CoreError> {
        let Link::Opening { server, exporter } = &self.link else { return Ok(()) };
        note_retention(step, welcome.limits.retention_ms, welcome.now_ms)?;
        self.server_ms = Some((welcome.now_ms, step.now_ms));
        self.chats.told_interactive = self.options.interactive;
        self.link = Link::LoggingIn(Login::new(*server, welcome.challenge, *exporter));
        self.sign_in(step);
        Ok(())
    }

    fn logged_in(&mut self, step: &mut Step<'_, '_>, device: &DeviceIn) -> Result<(), CoreError> {
        let Some(cursor) = self.take_up_cursor(step, &device.mailbox)? else { return Ok(()) };
        step.tx.set_registered()?;
        self.auth_key_left_ms = 0;
        self.compare_own_list(step, device)?;
        self.link = Link::Up;
        let attach = Attach { incarnation: cursor.incarnation, after: cursor.number };
        self.send(step, Asked::Attach, ClientFrame::Attach(attach));
        self.tell_interactive(step);
        self.resume_password_change(step)?;
        self.key_counts(step, &device.prekeys, true)?;
        if self.restoring == Restoring::UnderWay {
            // Begun on an earlier connection, perhaps; nothing is under way on this one yet.
            step.tx.unseal_unsent()?;
        }
        self.ask_fates(step, None)?;
        self.hole(step, device.mailbox.lost_through)
    }

    /// Compares this store's cursor with what the server has seen acked. `None`: this device must not go on.
    fn take_up_cursor(
        &mut self,
        step: &mut Step<'_, '_>,
        mailbox: &MailboxState,
    ) -> Result<Option<Cursor>, CoreError> {
        let fresh = Cursor { incarnation: mailbox.incarnation, number: QueueNumber(0) };
        let cursor = match step.tx.cursor()? {
            None if mailbox.acked == QueueNumber(0) => fresh,
            Some(cursor) if cursor.incarnation != mailbox.incarnation => {
                step.warn(
                    "the server's data was restored from a backup: the mailbox is read from its start, and what \
                     became of earlier messages is asked again",
                );
                self.begin_restore(step)?;
                // The numbers begin anew, and so does what was lost; what was shown of it is not shown again.
                let shown = step.tx.number(HOLE)?.min(mailbox.lost_through.0);
                step.tx.set_number(HOLE, shown)?;
                fresh
            }
            Some(cursor) if cursor.number >= mailbox.acked => cursor,
            _ => {
                let error = ClientError::new(
                    ErrorKind::LocalStore,
                    "this profile is an old copy: the server has seen a newer state of it. Nothing is sent from it",
                )
                .hint("sign this machine in as a new device: sotto --profile NEW login SERVER USER");
                self.close(step, error, false);
                return Ok(None);
            }
        };
        step.tx.set_cursor(&cursor)?;
        Ok(Some(cursor))
    }

    /// Messages were removed from the mailbox before this device had them: a row says so, once.
    fn hole(&mut self, step: &mut Step<'_, '_>, lost_through: QueueNumber) -> Result<(), CoreError> {
        let cursor = step.tx.cursor()?.map_or(0, |cursor| cursor.number.0);
        let shown = step.tx.number(HOLE)?;
        if lost_through.0 <= cursor || lost_through.0 <= shown {
            return Ok(());
        }
        step.tx.set_number(HOLE, lost_through.0)?;
        let text = "messages waited on the server for longer than it keeps them, and were removed before this device \
                    fetched them; their senders see them as expired";
        if !self.daily_row(step, HOLE_ROW, text)? {
            step.warn(text);
        }
        Ok(())
    }

    /// Tells the faces that the mailbox is drained, once everything that was in it is shown: first messages wait for the
    /// list that confirms their sender.
    pub(super) fn tell_drained(&mut self, step: &mut Step<'_, '_>) {
        if self.drained == Drained::Untold && !self.looking_up() {
            self.drained = Drained::Told;
            step.event(Event::Drained);
        }
    }

    /// Tells the server what this store has committed. Called at the end of a batch, so that one ack covers it.
    pub(super) fn acknowledge(&mut self, step: &mut Step<'_, '_>) -> Result<(), CoreError> {
        if !self.up() || !std::mem::take(&mut self.ack_due) {
            return Ok(());
        }
        let Some(cursor) = step.tx.cursor()? else { return Ok(()) };
        let ack = Ack { incarnation: cursor.incarnation, through: cursor.number };
        self.send(step, Asked::Ack, ClientFrame::Ack(ack));
        Ok(())
    }

    /// A request was answered with an error.
    fn refused(
        &mut self,
        step: &mut Step<'_, '_>,
        asked: Asked,
        error: &ErrorReply,
    ) -> Result<(), CoreError> {
        let told = self.translate(error);
        match asked {
            Asked::Login => return self.login_refused(step, error, told),
            Asked::Register => self.enrol_refused(step, error, told),
            Asked::Prove | Asked::HandOver => self.hand_over_refused(step, error, told),
            Asked::Hello | Asked::Attach => {
                let reconnect = matches!(told.kind, ErrorKind::Limit | ErrorKind::Unreachable);
                self.close(step, told, reconnect);
            }
            Asked::Submit { lane, submission } => {
                return self.submit_failed(step, lane, &submission, error, &told);
            }
            Asked::Bundles { account, .. } => {
                self.claiming.remove(&account);
                if error.code == ErrorCode::UNKNOWN_USER {
                    return self.doubt(step, account);
                }
                self.delay_lanes(step, account, error.retry_after_ms.unwrap_or(5_000));
            }
            Asked::Lists { names, accounts } => self.lookup_failed(step, &names, &accounts, error, &told),
            Asked::Users { command, .. } | Asked::RefuseReset { command } => {
                step.out.push(Output::Reply(command, Err(told)));
            }
            Asked::Ack if error.code == ErrorCode::INCARNATION || error.code == ErrorCode::OUT_OF_ORDER => {
                // The two sides disagree about the mailbox: a new login settles it.
                self.close(step, told, true);
            }
            Asked::Publish => {
                // A server that is busy is asked again, and its user told when that does not help.
                if error.code != ErrorCode::BUSY || self.keys_refused >= QUIETLY {
                    step.warn(format!("the server did not take this device's keys: {}", told.message));
                }
                self.keys_refused(step);
            }
            Asked::Submission { submission } | Asked::Copies { submission, .. } => {
                let again_ms = step.now_ms.saturating_add(error.retry_after_ms.unwrap_or(5_000));
                for entry in step.tx.submission_entries(&submission)? {
                    if let Some(account) = entry.account {
                        let lane = self.lanes.entry((account, entry.user)).or_default();
                        lane.in_flight = false;
                        lane.not_before_ms = again_ms;
                    }
                }
            }
            Asked::Chat { command, .. } => {
                step.out.push(Output::Reply(command, Err(chats::refused(error, told))));
            }
            Asked::Block { block } => return self.block_refused(step, &block, error),
            Asked::Pending { what } => return self.pending_refused(step, &what, error, told),
            Asked::Password { job, key } => return self.change_refused(step, job, Some(&key), error, told),
            Asked::OldPassword { command, key } => {
                let wrong = error.code == ErrorCode::BAD_CREDENTIALS;
                let answer = if wrong { Self::wrong_password(step, &key)? } else { told };
                step.out.push(Output::Reply(command, Err(answer)));
            }
            Asked::OwnList { job } | Asked::ReplaceList { job, .. } => {
                return self.change_refused(step, job, None, error, told);
            }
            Asked::Drop { command } => Self::drop_refused(step, command, error, told),
            Asked::SetPassword { attempt } => return self.password_refused(step, attempt, error, told),
            Asked::Fates { .. } => {
                let again_ms = step.now_ms.saturating_add(error.retry_after_ms.unwrap_or(5_000));
                self.fates_again_ms = Some(again_ms);
            }
            Asked::Counts => self.recount_later(step),
            Asked::Ack | Asked::Interactive => {}
        }
        Ok(())
    }

    /// A server's error in the words of this program.
    pub(super) fn translate(&self, error: &ErrorReply) -> ClientError {
        let told = |kind, message: &str| ClientError::new(kind, message).cause(&error.message);
        match error.code {
            ErrorCode::VERSION => {
                told(ErrorKind::Version, "this program and the server have no protocol in common")
                    .hint("update sotto, or ask the server's operator to")
            }
            ErrorCode::BAD_CREDENTIALS | ErrorCode::LOGIN_NEEDED => {
                told(ErrorKind::LoginNeeded, "the server does not let this device in")
            }
            ErrorCode::UNKNOWN_DEVICE => {
                told(ErrorKind::LoginNeeded, "this device was removed from the account, or never added")
                    .hint(format!("sotto --profile NEW login SERVER {}", self.me.username))
            }
            ErrorCode::UNKNOWN_USER => told(ErrorKind::LoginNeeded, "the server does not know this account"),
            ErrorCode::DISABLED => {
                told(ErrorKind::LoginNeeded, "the account was disabled by the server's operator")
            }
            ErrorCode::ACCOUNT_REMOVED | ErrorCode::ACCOUNT_REPLACED => {
                ended(error.code).cause(&error.message)
            }
            ErrorCode::TOO_MANY_CLIENTS => {
                told(ErrorKind::Limit, "the server has as many clients as it takes").hint("try again later")
            }
            ErrorCode::RATE_LIMITED => told(ErrorKind::Limit, "too many requests").hint("try again later"),
            ErrorCode::UNSUPPORTED => told(ErrorKind::Version, "the server does not know this request")
                .hint("ask its operator to update it"),
            ErrorCode::LIMIT => told(ErrorKind::Limit, "a limit of the server is reached"),
            ErrorCode::DISK_FULL => told(ErrorKind::Limit, "the server's disk is full"),
            ErrorCode::BUSY | ErrorCode::STORE => told(ErrorKind::Unreachable, "the server cannot do it now"),
            _ => told(ErrorKind::Unreachable, "the server refused a request"),
        }
    }
}

/// The account is no more, and this device cannot bring it back.
pub(crate) fn ended(code: ErrorCode) -> ClientError {
    const STAYS: &str = "what is on this machine stays readable: sotto history";
    if code == ErrorCode::ACCOUNT_REMOVED {
        ClientError::new(ErrorKind::LoginNeeded, "the operator of this server removed this account").hint(
            format!(
                "{STAYS}; ask the operator why, or make a new account: sotto --profile NEW register SERVER USER"
            ),
        )
    } else {
        let what =
            "this account was reset: a new identity has its name, and this device belongs to the old one";
        ClientError::new(ErrorKind::LoginNeeded, what).hint(format!(
            "{STAYS}; if nobody of yours asked for it, tell your contacts over another way, for it was somebody who \
             knows the password, or the server's operator"
        ))
    }
}

/// What is said of a request whose answer will not come.
fn lost(asked: &Asked) -> ClientError {
    let lost = ClientError::new(ErrorKind::Unreachable, "the connection to the server was lost");
    match asked {
        Asked::SetPassword { .. } => account::unsettled(),
        Asked::ReplaceList { .. } => lost.hint("it may have happened: sotto device list"),
        _ => lost,
    }
}

/// Whether a chain is that of the pinned server and leads to this session's key.
pub(crate) fn check_chain(chain: &KeyChain, spki: &[u8], pin: &ServerPin) -> Result<(), ClientError> {
    let changed = |message: &str| {
        ClientError::new(ErrorKind::IdentityChanged, message).hint(
            "ask the server's operator over another way for its sotto:// address; if it really has a new key chain, \
             sign in again with that address in a new profile",
        )
    };
    chain.verify(spki).map_err(|error| changed("the server did not prove who it is").cause(error))?;
    if chain.server_id() != pin.server_id {
        return Err(changed(
            "this is not the server that this profile belongs to: it shows another first key",
        ));
    }
    match chain.position(&pin.newest) {
        Some(number) if number >= pin.number => Ok(()),
        _ => Err(changed("the server shows an older key than it did before")),
    }
}
