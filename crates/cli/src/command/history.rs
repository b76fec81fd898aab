//! `sotto history`.

use sotto_client::api::{Command, Recipient, Reply, Row};
use sotto_proto::MessageId;

use super::Context;
use crate::args::History;
use crate::failure::Failure;
use crate::output::{Output, Printed};
use crate::recipient::To;
use crate::row;
use crate::session::{Session, unexpected};

/// Rows asked for at a time: an answer stays small on the local socket, and the store is free in between.
const PAGE: u32 = 200;

/// Prints what was said, oldest first, without moving the cursor of `recv`. Needs no connection.
pub(crate) async fn run(args: History, mut context: Context, out: &mut Output) -> Result<(), Failure> {
    let with = args.to.as_ref().map(To::recipient).transpose()?;
    let session = Session::local(&mut context).await?;
    let pages = pages(&session, with, args.limit, args.before).await;
    session.finish(out).await;
    for row in pages?.iter().rev().flatten() {
        if row::print(row, out)? == Printed::ReaderGone {
            break;
        }
    }
    Ok(())
}

/// The newest page first, each with its oldest row first.
async fn pages(
    session: &Session,
    with: Option<Recipient>,
    limit: Option<u32>,
    mut before: Option<MessageId>,
) -> Result<Vec<Vec<Row>>, Failure> {
    let mut left = limit.unwrap_or(u32::MAX);
    let mut pages = Vec::new();
    while left > 0 {
        let want = left.min(PAGE);
        let ask = Command::History { with: with.clone(), limit: want, before };
        let Reply::Rows(rows) = session.ask(ask).await? else { return Err(unexpected()) };
        let got = u32::try_from(rows.len()).unwrap_or(u32::MAX);
        let Some(oldest) = rows.first() else { break };
        before = Some(oldest.message);
        pages.push(rows);
        if got < want {
            break;
        }
        left -= want;
    }
    Ok(pages)
}
