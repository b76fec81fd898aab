//! The thread that owns the store and the core. Each batch of inputs is one transaction; what the core wants done
//! comes back only after that transaction is on stable storage.

use std::{
    path::{Path, PathBuf},
    thread::JoinHandle,
};

use tokio::sync::{mpsc, oneshot};

use super::{
    now_ms, os_rng,
    vault::{Keep, Vault},
};
use crate::{
    api::{ClientError, ErrorKind, Event},
    core::{Core, CoreOptions, Input, Output},
    store::LocalStore,
};

/// What a batch came to, now that it is on stable storage.
#[derive(Debug)]
pub(super) struct Committed {
    /// What the core wants done, in this order.
    pub(super) outputs: Vec<Output>,
    /// Whether something is on its way that will be settled within moments.
    pub(super) unsettled: bool,
}

/// What became of a batch.
pub(super) type Done = Result<Committed, ClientError>;

/// A handle on the thread. One batch is under way at a time, so neither channel ever holds more than one.
#[derive(Debug)]
pub(super) struct Engine {
    batches: mpsc::Sender<Vec<Input>>,
    done: mpsc::Receiver<Done>,
    thread: JoinHandle<()>,
}

impl Engine {
    /// Opens the core over the store of the profile in `dir`, in a thread of its own.
    pub(super) async fn start(
        store: LocalStore,
        dir: PathBuf,
        options: CoreOptions,
    ) -> Result<Self, ClientError> {
        let (batches, batches_out) = mpsc::channel(1);
        let (done_in, done) = mpsc::channel(1);
        let (opened_in, opened) = oneshot::channel();
        let run = move || {
            let mut store = store;
            let mut core = match store.transaction(|tx| Core::open(tx, options)) {
                Ok(core) => core,
                Err(error) => {
                    // Whoever asked is gone if this fails.
                    let _ = opened_in.send(Err(error.into()));
                    return;
                }
            };
            settle_wraps(&mut store, &dir);
            let _ = opened_in.send(Ok(()));
            work(&mut store, &mut core, &dir, batches_out, &done_in);
        };
        let thread = std::thread::Builder::new()
            .name("sotto-store".to_owned())
            .spawn(run)
            .map_err(|error| ClientError::new(ErrorKind::Bug, "no thread can be started").cause(error))?;
        match opened.await {
            Ok(Ok(())) => Ok(Self { batches, done, thread }),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(ended()),
        }
    }

    /// Begins a batch. Only when the one before is done.
    pub(super) fn begin(&mut self, batch: Vec<Input>) -> Result<(), ClientError> {
        self.batches.try_send(batch).map_err(|_| ended())
    }

    /// What became of the batch. Cancel safe; pending while none is under way.
    pub(super) async fn done(&mut self) -> Done {
        self.done.recv().await.unwrap_or_else(|| Err(ended()))
    }

    /// Ends the thread: the store is closed when this returns.
    pub(super) async fn stop(self) {
        let Self { batches, mut done, thread } = self;
        drop(batches);
        // The channel closes when the thread has dropped everything it owns.
        while done.recv().await.is_some() {}
        if thread.join().is_err() {
            tracing::error!("the store's thread panicked");
        }
    }
}

fn work(
    store: &mut LocalStore,
    core: &mut Core,
    dir: &Path,
    mut batches: mpsc::Receiver<Vec<Input>>,
    done: &mpsc::Sender<Done>,
) {
    while let Some(batch) = batches.blocking_recv() {
        let result = commit(store, core, dir, batch);
        let failed = result.is_err();
        // After a failure the core no longer knows what is on disk: only opening the profile anew is sound.
        if done.blocking_send(result).is_err() || failed {
            return;
        }
    }
}

fn commit(store: &mut LocalStore, core: &mut Core, dir: &Path, batch: Vec<Input>) -> Done {
    let now_ms = now_ms();
    let mut outputs = Vec::new();
    store.transaction(|tx| {
        let mut rng = os_rng();
        for input in batch {
            core.handle(now_ms, &mut rng, tx, input, &mut outputs)?;
        }
        core.flush(now_ms, &mut rng, tx, &mut outputs)
    })?;
    let settled = outputs.iter().rev().find_map(|output| match output {
        Output::PasswordSettled { changed } => Some(*changed),
        _ => None,
    });
    if let Some(changed) = settled {
        // Before anybody is told. If it fails, the next start does it.
        let keep = if changed { Keep::Newest } else { Keep::Oldest };
        if let Err(error) = Vault::keep(dir, keep) {
            outputs.push(Output::Event(Event::Warning(format!(
                "both the old and the new password open this device until sotto is started again: {error}"
            ))));
        }
    }
    Ok(Committed { outputs, unsettled: core.is_busy() })
}

/// A change of the password that was settled, or never begun, before a crash: only the right wrap of the store's key
/// stays. One that the server may still have to settle keeps both.
fn settle_wraps(store: &mut LocalStore, dir: &Path) {
    let settle = || -> Result<(), ClientError> {
        let keep = store.transaction::<_, ClientError>(|tx| {
            let right = tx.right_wrap()?.map_or(Keep::Oldest, Keep::Id);
            Ok(tx.password_change()?.is_none().then_some(right))
        })?;
        keep.map_or(Ok(()), |keep| Vault::keep(dir, keep))
    };
    let mut settle = settle;
    if let Err(error) = settle() {
        tracing::warn!(%error, "the key file was left as it is");
    }
}

fn ended() -> ClientError {
    ClientError::new(ErrorKind::Bug, "the store's thread ended early")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use sotto_proto::frame::AuthKey;

    use super::*;
    use crate::{
        driver::profile::Profile,
        store::{PasswordChange, StoreError},
    };

    /// A crash at each point of a change of the password, and what the next start makes of it.
    #[test]
    fn a_start_after_a_crash_keeps_what_the_server_may_have_and_nothing_else() {
        let root = tempfile::tempdir().unwrap();
        let profile = Profile::create(root.path()).unwrap();
        let (mut store, key) = profile.make_store("old").unwrap();
        let opens = |password| Vault::read(root.path()).unwrap().open(password).is_ok();
        // The wrap was written, and the core never heard of it.
        Vault::add(root.path(), key.expose(), "new").unwrap();
        settle_wraps(&mut store, root.path());
        assert!(opens("old") && !opens("new"));
        // The server was asked, and its answer is not known: both open.
        let wrap = Vault::add(root.path(), key.expose(), "new").unwrap();
        let change = PasswordChange { old: AuthKey([1; 32]), new: AuthKey([2; 32]), wrap };
        store.transaction::<_, StoreError>(|tx| tx.begin_password_change(&change)).unwrap();
        settle_wraps(&mut store, root.path());
        assert!(opens("old") && opens("new"));
        // It is known, and the file was not written yet.
        store.transaction::<_, StoreError>(|tx| tx.end_password_change(true)).unwrap();
        settle_wraps(&mut store, root.path());
        assert!(!opens("old") && opens("new"));
        // The next one is begun and forgotten: what the last one settled stays.
        Vault::add(root.path(), key.expose(), "third").unwrap();
        settle_wraps(&mut store, root.path());
        assert!(opens("new") && !opens("third"));
    }
}
