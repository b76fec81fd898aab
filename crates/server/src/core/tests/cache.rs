//! The accounts that are kept in memory.

use sotto_store::WaitingReset;

use super::*;
use crate::core::known::{AccountRef, GENERATION, Known, KnownAccounts};

/// An account with a long list that waits and many blocks.
fn large(number: u64, revision: u64, bytes: usize, template: &AccountRecord) -> Known {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&number.to_be_bytes());
    let reset = WaitingReset { list: vec![0; bytes], asked_ms: 0, due_ms: 0, refused: false };
    Known::new(AccountRecord {
        account: AccountId(id),
        username: Username::parse(&format!("user{number}")).unwrap(),
        blocked: vec![AccountId([1; 16]); 1000],
        reset: Some(reset),
        revision,
        ..template.clone()
    })
    .unwrap()
}

#[test]
fn however_large_accounts_are_what_is_kept_of_them_is_bounded() {
    let mut bench = Bench::new();
    bench.register(&User::new("alice", 1));
    let template = bench.record("alice").unwrap();
    let mut known = KnownAccounts::default();
    for number in 0..2_000 {
        let account = large(number, 1, 64 << 10, &template);
        let one = account.weight();
        assert!(one > 80_000, "{one}");
        let id = account.record.account;
        known.insert(account);
        assert!(known.weight() < 2 * (GENERATION + one), "{}", known.weight());
        assert!(known.find(&AccountRef::Id(id)).is_some(), "the newest is there");
    }
    assert!(known.weight() > GENERATION, "and it is made use of");
}

#[test]
fn what_takes_the_place_of_a_record_or_ends_frees_its_bytes() {
    let mut bench = Bench::new();
    bench.register(&User::new("alice", 1));
    let template = bench.record("alice").unwrap();
    let mut known = KnownAccounts::default();
    let account = large(1, 1, 5_000, &template);
    let (id, one) = (account.record.account, account.weight());
    known.insert(account);
    for revision in 2..50 {
        known.insert(large(1, revision, 5_000, &template));
        assert_eq!(known.weight(), one);
    }
    known.insert(large(1, 50, 6_000, &template));
    assert_eq!(known.weight(), one + 1_000);
    known.forget(&id);
    assert_eq!(known.weight(), 0);
}
