//! What happens when this program has a bug: a report in a file, its path on stderr, and exit code 70.

use std::backtrace::Backtrace;
use std::fs::{self, File};
use std::io::{self, Write};
use std::panic::PanicHookInfo;
use std::path::{Path, PathBuf};

use sotto_client::api::ErrorKind;

use crate::failure::Failure;
use crate::output::Output;

/// Makes every panic end the process with a report. It holds the place, the message and the stack, none of which names a
/// secret; the user sees it before sending it to anybody.
pub(crate) fn install(folder: PathBuf, json: bool) {
    std::panic::set_hook(Box::new(move |info| {
        let text = report(info, &Backtrace::force_capture());
        crate::command::chat::restore();
        let failure = Failure::new(ErrorKind::Bug, "this is a bug in sotto");
        let failure = match save(&folder, &text).or_else(|_| save(&std::env::temp_dir(), &text)) {
            Ok(path) => failure.hint(format!("please report it with the file {}", path.display())),
            Err(error) => failure.cause(format!("{text}\n(the report could not be saved: {error})")),
        };
        Output::new(json, false, crate::output::Colour::Never).remarks().failure(&failure);
        std::process::exit(i32::from(failure.code));
    }));
}

fn report(info: &PanicHookInfo<'_>, backtrace: &Backtrace) -> String {
    let message = info
        .payload()
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| info.payload().downcast_ref::<String>().map(String::as_str))
        .unwrap_or("(no message)");
    let place = info.location().map_or_else(|| "(unknown)".to_owned(), ToString::to_string);
    format!(
        "sotto {} on {} {}\nat {place}: {message}\n\n{backtrace}\n",
        env!("CARGO_PKG_VERSION"),
        std::env::consts::OS,
        std::env::consts::ARCH
    )
}

/// A file of its own for each process, readable by its owner only.
fn save(folder: &Path, text: &str) -> io::Result<PathBuf> {
    use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let path = folder.join(format!("sotto-crash-{}.txt", std::process::id()));
    // A stale file of an earlier process with this id makes way; a link somebody else put there does not get followed.
    if let Err(error) = fs::remove_file(&path)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(error);
    }
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(&path)?;
    file.write_all(text.as_bytes())?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_report_is_the_owners_alone_and_replaces_an_old_one() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("reports");
        save(&folder, "old").unwrap();
        let path = save(&folder, "new").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
    }
}
