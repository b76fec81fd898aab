//! The operator's socket in the data folder: one question a connection, one answer.

use std::{path::Path, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{UnixListener, UnixStream},
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::warn;

use super::{
    desk::{Answer, Ask, Desk},
    folder::SocketPlace,
};

/// Bytes of a question.
const QUESTION: u64 = 4096;
/// How long a question may take, and most answers.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How long a backup of a large store may take.
const BACKUP_TIMEOUT: Duration = Duration::from_secs(60 * 60);
/// How long a change may take: an account that is removed may have full mailboxes, and the disk may be slow. Nobody is to
/// give up on what is done meanwhile; a password that was set is shown only with the answer.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(120);

impl Ask {
    /// Whether something is another way after it.
    fn changes(&self) -> bool {
        self.changes_accounts()
            || matches!(self, Self::Kill { .. } | Self::Invite { .. } | Self::Revoke { .. })
    }

    /// How long its answer is waited for.
    fn patience(&self) -> Duration {
        match self {
            Self::Backup { .. } => BACKUP_TIMEOUT,
            ask if ask.changes() => CHANGE_TIMEOUT,
            _ => TIMEOUT,
        }
    }
}

/// Answers on the socket until told to stop.
pub(crate) async fn serve(
    listener: UnixListener,
    desk: Arc<Desk>,
    stop: CancellationToken,
    tasks: TaskTracker,
) {
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        match stream {
            Ok((stream, _)) => {
                let (desk, stop) = (Arc::clone(&desk), stop.clone());
                tasks.spawn(async move {
                    tokio::select! {
                        result = converse(stream, &desk) => if let Err(error) = result {
                            warn!("admin socket: {error}");
                        },
                        () = stop.cancelled() => {}
                    }
                });
            }
            Err(error) => {
                warn!("admin socket: {error}");
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    }
}

async fn converse(mut stream: UnixStream, desk: &Desk) -> std::io::Result<()> {
    let mut line = String::new();
    let mut reader = BufReader::new((&mut stream).take(QUESTION));
    timeout(TIMEOUT, reader.read_line(&mut line)).await??;
    let answer = match serde_json::from_str(&line) {
        Ok(ask @ Ask::Backup { .. }) => tokio::select! {
            answer = desk.answer(ask) => answer,
            // Changes wait for it, so it is called off when nobody wants it any more.
            () = gone(&mut stream) => return Ok(()),
        },
        Ok(ask) => desk.answer(ask).await,
        Err(error) => Answer::Error(format!("not understood: {error}")),
    };
    let mut bytes = serde_json::to_vec(&answer)?;
    bytes.push(b'\n');
    timeout(TIMEOUT, stream.write_all(&bytes)).await??;
    stream.shutdown().await
}

/// Returns when who asked has ended, or says no more.
async fn gone(stream: &mut UnixStream) {
    while matches!(stream.read(&mut [0]).await, Ok(read) if read > 0) {}
}

/// Asks the daemon that runs on this data folder; `None` if there is none.
pub(crate) async fn ask(data_dir: &Path, ask: &Ask) -> std::io::Result<Option<Answer>> {
    let place = match SocketPlace::in_folder(data_dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        place => place?,
    };
    let stream = match UnixStream::connect(place.path()).await {
        Err(error)
            if matches!(
                error.kind(),
                std::io::ErrorKind::NotFound | std::io::ErrorKind::ConnectionRefused
            ) =>
        {
            return Ok(None);
        }
        stream => stream?,
    };
    exchange(stream, ask, ask.patience()).await.map(Some)
}

/// Asks on a connection to the daemon.
async fn exchange(mut stream: UnixStream, ask: &Ask, patience: Duration) -> std::io::Result<Answer> {
    let mut bytes = serde_json::to_vec(ask)?;
    bytes.push(b'\n');
    let answered = timeout(patience, async {
        stream.write_all(&bytes).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    });
    let what = match answered.await {
        Ok(Ok(answer)) if !answer.is_empty() => return Ok(serde_json::from_slice(&answer)?),
        Ok(Ok(_)) => "the daemon ended before it answered".to_owned(),
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("the daemon did not answer within {} s", patience.as_secs()),
    };
    Err(std::io::Error::other(if ask.changes() {
        format!("{what}: it may have been done; run the same command again")
    } else {
        what
    }))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat, open};

    use sotto_store::{InviteHash, SledStore, Store as _};

    use super::{
        super::{
            desk::UserAction,
            identity::{CHAIN_FILE, KEY_FILE},
        },
        *,
    };

    fn set_password() -> Ask {
        Ask::SetPassword { name: "alice".to_owned(), hash: "hash".to_owned() }
    }

    #[tokio::test]
    async fn a_change_without_an_answer_may_have_been_done_and_says_so() {
        let again = |result: std::io::Result<Answer>| {
            let text = result.unwrap_err().to_string();
            (text.contains("may have been done; run the same command again"), text)
        };
        // The daemon takes it and ends.
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let daemon = async {
            let mut line = String::new();
            BufReader::new(&mut theirs).read_line(&mut line).await.unwrap();
            drop(theirs);
        };
        let question = set_password();
        let (asked, ()) = tokio::join!(exchange(ours, &question, CHANGE_TIMEOUT), daemon);
        let (said, text) = again(asked);
        assert!(said && text.contains("ended before it answered"), "{text}");
        // It is slower than anybody waits.
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (said, text) = again(exchange(ours, &question, Duration::from_millis(1)).await);
        assert!(said && text.contains("did not answer within"), "{text}");
        drop(theirs);
        // A question changes nothing.
        let (ours, theirs) = UnixStream::pair().unwrap();
        drop(theirs);
        assert!(!again(exchange(ours, &Ask::Status, TIMEOUT).await).0);
    }

    #[test]
    fn whatever_changes_an_account_is_waited_for() {
        let name = || "alice".to_owned();
        let reset = Ask::ResetNow { name: name(), code: String::new() };
        for ask in [Ask::User { action: UserAction::Disable, name: name() }, reset, set_password()] {
            assert!(ask.changes());
            assert_eq!(ask.patience(), CHANGE_TIMEOUT);
        }
        assert_eq!(Ask::Status.patience(), TIMEOUT);
    }

    #[tokio::test]
    async fn a_backup_is_called_off_when_who_asked_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let data_dir = dir.path().join("data");
        std::fs::create_dir(&data_dir).unwrap();
        for name in [KEY_FILE, CHAIN_FILE] {
            std::fs::write(data_dir.join(name), name).unwrap();
        }
        let store = SledStore::open(&data_dir.join("store"), sotto_store::StoreConfig::default()).unwrap();
        let desk = Arc::new(Desk {
            store: Arc::new(store),
            data_dir,
            driver: None,
            running: true,
            address: String::new(),
            started: std::time::Instant::now(),
        });
        let begin = |folder: &Path| {
            std::fs::create_dir(folder).unwrap();
            let (ours, theirs) = UnixStream::pair().unwrap();
            let desk = Arc::clone(&desk);
            (ours, tokio::spawn(async move { converse(theirs, &desk).await }))
        };
        let ask = |folder: &Path| Ask::Backup { folder: folder.to_owned() };
        let (ours, conversed) = begin(&dir.path().join("first"));
        let answer = exchange(ours, &ask(&dir.path().join("first")), TIMEOUT).await.unwrap();
        assert!(matches!(answer, Answer::Backup(..)), "{answer:?}");
        conversed.await.unwrap().unwrap();

        let folder = dir.path().join("second");
        let (mut ours, conversed) = begin(&folder);
        // The store's writer waits here until somebody reads.
        let pipe = folder.join("store.dump.unfinished");
        mknodat(CWD, &pipe, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        ours.write_all(format!("{}\n", serde_json::to_string(&ask(&folder)).unwrap()).as_bytes())
            .await
            .unwrap();
        drop(ours);
        timeout(TIMEOUT, conversed).await.unwrap().unwrap().unwrap();
        // Who reads without waiting, for the backup may not even have begun.
        let _reader = open(&pipe, OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty()).unwrap();
        assert_eq!(desk.store.revoke_invite(InviteHash::of("none")).await, Ok(false), "changes go on");
    }
}
