//! What goes over a connection, piece by piece: a megabyte at once would be felt by everybody.

use std::{
    cell::RefCell,
    future::poll_fn,
    io,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf},
    sync::{Notify, Semaphore},
    task::yield_now,
};

/// Bytes read at once, into a buffer of the thread: an idle connection holds none.
const READ_AT_ONCE: usize = 16 * 1024;
/// Bytes read or written before other connections have their turn: a megabyte at once would be felt by all of them.
pub(super) const BEFORE_OTHERS: usize = 16 * 1024;
/// How many connections may read or write such a piece of something long at a time: enough for several processors, and
/// all of them together take some tens of microseconds.
pub(super) const LONG_AT_ONCE: usize = 4;

/// Reads once, into a buffer that belongs to the thread; `Ok(0)` is the end.
pub(super) async fn read_some<R: AsyncRead + Unpin>(
    reading: &mut R,
    mut take: impl FnMut(&[u8]),
) -> io::Result<usize> {
    thread_local! {
        static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_AT_ONCE]);
    }
    poll_fn(|context| {
        BUFFER.with_borrow_mut(|buffer| {
            let mut buffer = ReadBuf::new(buffer);
            match Pin::new(&mut *reading).poll_read(context, &mut buffer) {
                Poll::Pending => Poll::Pending,
                Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                Poll::Ready(Ok(())) => {
                    take(buffer.filled());
                    Poll::Ready(Ok(buffer.filled().len()))
                }
            }
        })
    })
    .await
}

/// Reads once of something long, in turn with the others who do; whatever else is ready to run comes first.
pub(super) async fn read_in_turn<R: AsyncRead + Unpin>(
    reading: &mut R,
    long: &Semaphore,
    mut take: impl FnMut(&[u8]),
) -> io::Result<usize> {
    loop {
        let read = {
            let _turn = long.acquire().await;
            yield_now().await;
            at_once(read_some(reading, &mut take))
        };
        match read {
            Ok(read) => return read,
            // Nobody waits for a peer with a turn in hand.
            Err(ready) => ready.0.notified().await,
        }
    }
}

/// Writes a piece of something long in the same way.
pub(super) async fn write_in_turn<W: AsyncWrite + Unpin>(
    writing: &mut W,
    long: &Semaphore,
    piece: &[u8],
) -> io::Result<()> {
    let mut left = piece;
    while !left.is_empty() {
        let written = {
            let _turn = long.acquire().await;
            yield_now().await;
            at_once(writing.write(left))
        };
        match written {
            Ok(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => left = left.get(written?..).unwrap_or_default(),
            Err(ready) => ready.0.notified().await,
        }
    }
    Ok(())
}

/// Told when it is worth another try. Not the task's own waker: reader and writer of a connection are one task, and what one
/// of them does would be a reason for the other to try again, and so on without end.
struct Ready(Notify);

impl Wake for Ready {
    fn wake(self: Arc<Self>) {
        self.0.notify_one();
    }
}

/// What a future comes to that does not wait, or what tells when it is ready.
fn at_once<F: Future>(future: F) -> Result<F::Output, Arc<Ready>> {
    let ready = Arc::new(Ready(Notify::new()));
    let waker = Waker::from(Arc::clone(&ready));
    match pin!(future).poll(&mut Context::from_waker(&waker)) {
        Poll::Ready(output) => Ok(output),
        Poll::Pending => Err(ready),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::io::AsyncReadExt as _;

    use super::*;

    /// Reader and writer of a connection are one task: what one of them does is no reason for the other to try again.
    #[tokio::test]
    async fn who_is_stuck_both_ways_rests() {
        let (mut peer, stream) = tokio::io::duplex(1024);
        let polls = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&polls);
        let stuck = tokio::spawn(async move {
            let long = Semaphore::new(LONG_AT_ONCE);
            let (mut reading, mut writing) = tokio::io::split(stream);
            let read =
                async { while read_in_turn(&mut reading, &long, |_| ()).await.is_ok_and(|read| read > 0) {} };
            let write = write_in_turn(&mut writing, &long, &[7; BEFORE_OTHERS]);
            let mut both = pin!(async { tokio::join!(read, write).1 });
            poll_fn(|context| {
                counted.fetch_add(1, Ordering::Relaxed);
                both.as_mut().poll(context)
            })
            .await
        });
        let settled = async || {
            for _ in 0..100 {
                yield_now().await;
            }
            polls.load(Ordering::Relaxed)
        };
        // What it sends comes bit by bit, and it takes nothing.
        for _ in 0..4 {
            peer.write_all(&[1]).await.unwrap();
            let before = settled().await;
            assert_eq!(settled().await, before, "it goes on by itself");
        }
        // Both go on when they can.
        let mut written = vec![0; BEFORE_OTHERS];
        peer.read_exact(&mut written).await.unwrap();
        peer.shutdown().await.unwrap();
        stuck.await.unwrap().unwrap();
        assert_eq!(written, [7; BEFORE_OTHERS]);
    }
}
