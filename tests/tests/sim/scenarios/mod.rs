//! Named scenarios: one story each, and what everybody must see in the end.

mod account;
mod blocks;
mod changes;
mod chats;
mod clocks;
mod corners;
mod delivery;
mod devices;
mod enrolment;
mod full;
mod hostile;
mod identity;
mod lies;
mod long;
mod own;
mod password;
mod restore;

fn texts(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|number| format!("{prefix} {number}")).collect()
}
