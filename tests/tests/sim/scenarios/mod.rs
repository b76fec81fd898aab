//! Named scenarios: one story each, and what everybody must see in the end.

mod account;
mod blocks;
mod changes;
mod chats;
mod clocks;
mod closing;
mod comeback;
mod corners;
mod delivery;
mod devices;
mod enrolment;
mod face;
mod full;
mod hostile;
mod identity;
mod keyless;
mod lanes;
mod lies;
mod long;
mod lookups;
mod mailbox;
mod opening;
mod own;
mod own_devices;
mod own_lists;
mod password;
mod prekeys;
mod putback;
mod requests;
mod restore;
mod sealing;
mod senders;
mod sessions;
mod silence;
mod submits;
mod told;
mod undelivered;

fn texts(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|number| format!("{prefix} {number}")).collect()
}
