//! What was asked of the server and not answered yet.

use std::collections::BTreeMap;

use sotto_proto::{AccountId, DeviceId, FateTag, SignedDeviceList, SubmissionId, Username, frame::AuthKey};

use super::{CommandId, account::Attempt, changes::ListChange, chats::ChatAsked, devices::PendingFor};
use crate::{api::User, store::BlockRecord};

/// A question to the server, with what is needed to make sense of the answer.
#[derive(Debug)]
pub(crate) enum Asked {
    Hello,
    Login,
    /// The account again, at a server that lost it.
    Register,
    /// A login of the account, to hand its list over.
    Prove,
    /// One's own list, at a server that has an older one.
    HandOver,
    Attach,
    Ack,
    Publish,
    /// An upload of nothing, for its answer.
    Counts,
    /// Device lists, by name and by account.
    Lists {
        names: Vec<Username>,
        accounts: Vec<AccountId>,
    },
    Bundles {
        account: AccountId,
        devices: Vec<DeviceId>,
        for_requests: bool,
    },
    Submit {
        lane: (AccountId, bool),
        submission: SubmissionId,
    },
    Submission {
        submission: SubmissionId,
    },
    /// What became of the copies of a Submit that the server does not know, or no longer.
    Copies {
        submission: SubmissionId,
        tags: Vec<FateTag>,
    },
    Fates {
        tags: Vec<FateTag>,
    },
    Users {
        command: CommandId,
        so_far: Vec<User>,
    },
    Interactive,
    /// Something about live chats.
    Chat {
        command: CommandId,
        asked: ChatAsked,
    },
    Block {
        block: BlockRecord,
    },
    /// The devices that wait to be approved.
    Pending {
        what: PendingFor,
    },
    /// The password, before the account's list is changed.
    Password {
        job: ListChange,
        key: AuthKey,
    },
    /// The password until now, which does not open this store, before it is changed.
    OldPassword {
        command: CommandId,
        key: AuthKey,
    },
    /// One's own newest list, to change it.
    OwnList {
        job: ListChange,
    },
    /// One's own next list.
    ReplaceList {
        job: ListChange,
        list: Box<SignedDeviceList>,
    },
    /// That a waiting device is taken off the server's list.
    Drop {
        command: CommandId,
    },
    RefuseReset {
        command: CommandId,
    },
    SetPassword {
        attempt: Attempt,
    },
}

impl Asked {
    /// The command that waits for the answer.
    pub(crate) fn command(&self) -> Option<CommandId> {
        match self {
            Self::Users { command, .. }
            | Self::Chat { command, .. }
            | Self::Drop { command }
            | Self::RefuseReset { command }
            | Self::OldPassword { command, .. }
            | Self::Pending { what: PendingFor::Show(command) | PendingFor::Approve { command, .. } }
            | Self::SetPassword { attempt: Attempt::First(command) } => Some(*command),
            Self::Password { job, .. } | Self::OwnList { job } | Self::ReplaceList { job, .. } => {
                Some(job.command())
            }
            Self::Hello
            | Self::Login
            | Self::Register
            | Self::Prove
            | Self::HandOver
            | Self::Attach
            | Self::Ack
            | Self::Publish
            | Self::Counts
            | Self::Lists { .. }
            | Self::Bundles { .. }
            | Self::Submit { .. }
            | Self::Submission { .. }
            | Self::Copies { .. }
            | Self::Fates { .. }
            | Self::Interactive
            | Self::Block { .. }
            | Self::SetPassword { attempt: Attempt::Again | Attempt::Check } => None,
        }
    }
}

/// Requests under way on this connection.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    last: u32,
    waiting: BTreeMap<u32, Asked>,
}

/// Request ids from here on are the driver's, for its pings.
const DRIVER_IDS: u32 = u32::MAX - 1024;

impl Requests {
    /// Notes a question; answers the request id to ask it under. Ids are used again only after four billion.
    pub(crate) fn ask(&mut self, asked: Asked) -> u32 {
        self.last = if self.last + 1 >= DRIVER_IDS { 1 } else { self.last + 1 };
        self.waiting.insert(self.last, asked);
        self.last
    }

    /// The question that an answer belongs to.
    pub(crate) fn take(&mut self, request: u32) -> Option<Asked> {
        self.waiting.remove(&request)
    }

    /// Forgets all questions: the connection is gone. Answers those that a face waits for.
    pub(crate) fn clear(&mut self) -> Vec<Asked> {
        std::mem::take(&mut self.waiting).into_values().collect()
    }

    /// Whether the server is being asked what became of messages.
    pub(crate) fn asks_fates(&self) -> bool {
        self.waiting.values().any(|asked| matches!(asked, Asked::Fates { .. }))
    }

    /// Whether something is being sent, or the server is asked whether it was.
    pub(crate) fn sends(&self) -> bool {
        let sends = |asked: &Asked| {
            matches!(asked, Asked::Submit { .. } | Asked::Submission { .. } | Asked::Copies { .. })
        };
        self.waiting.values().any(sends)
    }

    /// How many are under way.
    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_question_ever_has_an_id_of_the_drivers_pings_and_none_that_of_a_push() {
        let mut requests = Requests { last: DRIVER_IDS - 3, ..Requests::default() };
        let ids: Vec<u32> = (0..4).map(|_| requests.ask(Asked::Counts)).collect();
        assert_eq!(ids, [DRIVER_IDS - 2, DRIVER_IDS - 1, 1, 2]);
    }
}
