//! Prints durable appends a second with 1, 16 and 256 submitters, each of which waits for its answer before it submits
//! again; then how fast a mailbox is read and acked.
//!
//! `cargo run --release -p sotto-store --features testing --example append_bench -- [seconds a row] [folder]`

use std::{
    env,
    path::PathBuf,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use sotto_proto::{DeviceId, QueueNumber, limits::FLOOR_ENVELOPE};
use sotto_store::{
    SledStore, Store, StoreConfig, StoreError, Submission,
    conformance::{Person, envelope, key},
};

/// Mailboxes the submitters write to.
const PEOPLE: u8 = 200;

fn main() -> Result<(), StoreError> {
    let mut arguments = env::args().skip(1);
    let seconds = arguments.next().and_then(|seconds| seconds.parse().ok()).unwrap_or(5);
    let folder = arguments.next().map_or_else(|| env::temp_dir().join("sotto-append-bench"), PathBuf::from);
    let config =
        StoreConfig { mailbox_envelopes: u64::MAX, mailbox_bytes: u64::MAX, ..StoreConfig::default() };
    let store = SledStore::open(&folder, config)?;
    let people: Vec<_> = (0..PEOPLE).map(|seed| Person::new(&format!("bench{seed}x"), seed)).collect();
    let made: Vec<_> = people.iter().map(|person| store.create_account(person.new_account())).collect();
    for pending in made {
        pending.wait()?;
    }
    let devices: Vec<_> = people.iter().map(|person| person.device).collect();
    println!("{} bytes an envelope, in {}", FLOOR_ENVELOPE, folder.display());
    // Ids must not repeat over runs in one folder.
    let next = AtomicU64::new(store.usage().wait()?.envelopes.wrapping_mul(1 << 20));
    for submitters in [1, 16, 256] {
        row(&store, &devices, submitters, Duration::from_secs(seconds), &next)?;
    }
    drain(&store, &devices)?;
    println!("{:?}", store.usage().wait()?);
    store.close().wait()
}

fn row(
    store: &SledStore,
    devices: &[DeviceId],
    submitters: usize,
    time: Duration,
    next: &AtomicU64,
) -> Result<(), StoreError> {
    let (stop, count) = (AtomicBool::new(false), AtomicU64::new(0));
    let start = Instant::now();
    thread::scope(|scope| {
        let submit = || -> Result<(), StoreError> {
            while !stop.load(Ordering::Relaxed) {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let place = usize::try_from(number).unwrap_or_default() % devices.len();
                let envelopes = devices.get(place).map(|device| envelope(*device, number, FLOOR_ENVELOPE));
                let envelopes = envelopes.into_iter().collect();
                store.append(Submission { key: key(number), envelopes, now_ms: 1 }).wait()?;
                count.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        };
        let threads: Vec<_> = (0..submitters).map(|_| scope.spawn(submit)).collect();
        thread::sleep(time);
        stop.store(true, Ordering::Relaxed);
        threads.into_iter().try_for_each(|thread| thread.join().unwrap_or(Err(StoreError::Stopped)))
    })?;
    let done = count.load(Ordering::Relaxed);
    println!("{submitters:>4} submitters: {:>8.0} appends/s", rate(done, start));
    Ok(())
}

fn drain(store: &SledStore, devices: &[DeviceId]) -> Result<(), StoreError> {
    let (start, mut count) = (Instant::now(), 0);
    for device in devices {
        let mut after = QueueNumber(0);
        loop {
            let deliveries = store.read(*device, after, 256 * 1024).wait()?;
            let Some(last) = deliveries.last() else { break };
            after = last.number;
            count += deliveries.len() as u64;
            store.ack(*device, after).wait()?;
        }
    }
    println!("read and acked, one mailbox after another: {:.0} envelopes/s", rate(count, start));
    Ok(())
}

#[allow(clippy::cast_precision_loss)]
fn rate(count: u64, start: Instant) -> f64 {
    count as f64 / start.elapsed().as_secs_f64()
}
