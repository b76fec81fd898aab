//! `sotto doctor`.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use sotto_client::api::{Command, ErrorKind, Finding, Reply};

use super::Context;
use crate::failure::Failure;
use crate::output::{Output, Tone};
use crate::record::Record;
use crate::session::{Session, unexpected};

/// Looks at folder, store and server; fails if anything is not well.
pub(crate) async fn run(mut context: Context, out: &mut Output) -> Result<(), Failure> {
    let dir = context.place.dir();
    let session = Session::open(&mut context).await?;
    let connected = session.settled().await;
    let reply = session.ask(Command::Doctor).await;
    session.finish(out).await;
    let Reply::Doctor(found) = reply? else { return Err(unexpected()) };
    let mut findings = vec![folder(&dir)];
    findings.extend(found);
    for finding in &findings {
        out.record(&Record::from(finding), |lines| {
            let (tone, mark) = if finding.ok { (Tone::Good, "ok ") } else { (Tone::Bad, "BAD") };
            lines.labelled(tone, &format!("{mark} {}", finding.what), &finding.found);
        })?;
    }
    connected?;
    match findings.iter().filter(|finding| !finding.ok).count() {
        0 => Ok(()),
        bad => Err(Failure::new(ErrorKind::Invalid, format!("{bad} of {} findings are bad", findings.len()))),
    }
}

/// Nobody else may look into the folder.
fn folder(dir: &Path) -> Finding {
    let what = "profile folder".to_owned();
    match std::fs::metadata(dir) {
        Ok(metadata) => {
            let mode = metadata.permissions().mode() & 0o777;
            let ok = mode.trailing_zeros() >= 6;
            let remark = if ok { "" } else { ": others can look into it; chmod 700 it" };
            Finding { ok, what, found: format!("{} ({mode:o}){remark}", dir.display()) }
        }
        Err(error) => Finding { ok: false, what, found: format!("{}: {error}", dir.display()) },
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_folder_that_others_can_read_is_bad() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
        assert!(folder(dir.path()).ok);
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o750)).unwrap();
        assert!(!folder(dir.path()).ok);
        assert!(!folder(&dir.path().join("none")).ok);
    }
}
