//! Where passwords and recovery phrases come from. Never from argv, where every process of the machine can read them.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::process::Stdio;

use sotto_client::api::ErrorKind;
use unicode_normalization::UnicodeNormalization;
use zeroize::Zeroizing;

use crate::failure::Failure;
use crate::input::Input;
use crate::output::Remarks;

/// Bytes of a password: far above any that is typed, and a bound for what is read from a pipe.
const MAX_PASSWORD: usize = 1024;
/// Bytes of a recovery phrase with any white space around its words: 24 words of at most 8 letters take 215.
const MAX_PHRASE: usize = 2048;

const PASSWORD_FILE: &str = "SOTTO_PASSWORD_FILE";
const PASSWORD_COMMAND: &str = "SOTTO_PASSWORD_COMMAND";
const NEW_PASSWORD_FILE: &str = "SOTTO_NEW_PASSWORD_FILE";
const RECOVERY_FILE: &str = "SOTTO_RECOVERY_FILE";

/// How often a password is asked for at a prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ask {
    /// It is known to somebody who will say so if it is wrong.
    Once,
    /// It is new, and a slip would lock the user out.
    Twice,
}

/// What may be asked, and what was given already.
pub(crate) struct Secrets {
    no_input: bool,
    password_stdin: bool,
    from_stdin: Option<Zeroizing<String>>,
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Secrets").field("no_input", &self.no_input).finish_non_exhaustive()
    }
}

impl Secrets {
    /// Takes the first line of `stdin` if it holds the password; what is behind it stays there.
    pub(crate) fn new<R: io::Read>(
        no_input: bool,
        password_stdin: bool,
        stdin: &mut Input<R>,
    ) -> Result<Self, Failure> {
        let from_stdin = if password_stdin {
            let line = stdin
                .secret_line(MAX_PASSWORD)
                .map_err(|error| unreadable("the password on stdin cannot be read", &error))?
                .ok_or_else(|| no_password("there is no password on stdin"))?;
            Some(password(&line)?)
        } else {
            None
        };
        Ok(Self { no_input, password_stdin, from_stdin })
    }

    /// Whether questions may be asked.
    pub(crate) fn may_ask(&self) -> bool {
        !self.no_input
    }

    /// Whether a password is asked of a person: then it can be asked again.
    pub(crate) fn asks_for_password(&self) -> bool {
        let given = |variable| std::env::var_os(variable).is_some();
        self.may_ask() && !self.password_stdin && !given(PASSWORD_FILE) && !given(PASSWORD_COMMAND)
    }

    /// A new password; a person is asked until both times are the same.
    pub(crate) async fn new_password(&mut self, remarks: Remarks) -> Result<Zeroizing<String>, Failure> {
        loop {
            match self.password(Ask::Twice).await {
                Err(failure) if failure.kind == "invalid" && self.asks_for_password() => {
                    remarks.warning(&failure.message);
                }
                other => return other,
            }
        }
    }

    /// The password that takes the place of the one until now: the second line of stdin, a file, or a prompt.
    pub(crate) async fn next_password<R: io::Read>(
        &self,
        stdin: &mut Input<R>,
    ) -> Result<Zeroizing<String>, Failure> {
        if self.password_stdin {
            let line = stdin
                .secret_line(MAX_PASSWORD)
                .map_err(|error| unreadable("the new password on stdin cannot be read", &error))?
                .ok_or_else(|| no_password("there is no second line with the new password on stdin"))?;
            return password(&line);
        }
        if let Some(path) = std::env::var_os(NEW_PASSWORD_FILE) {
            return password(&first_line_of(Path::new(&path), MAX_PASSWORD, NEW_PASSWORD_FILE)?);
        }
        if self.no_input {
            return Err(Failure::new(
                ErrorKind::LoginNeeded,
                "a new password is needed, and --no-input forbids to ask for it",
            )
            .hint(format!("use the second line of --password-stdin, or {NEW_PASSWORD_FILE}")));
        }
        let first = prompt_hidden("New password: ").await?;
        if *prompt_hidden("New password again: ").await? != *first {
            return Err(Failure::new(ErrorKind::Invalid, "the two passwords differ; nothing was changed"));
        }
        password(first.as_bytes())
    }

    /// The recovery phrase, or none where a person rather lets another device approve.
    pub(crate) async fn recovery_phrase_or_none(&self) -> Result<Option<Zeroizing<String>>, Failure> {
        if std::env::var_os(RECOVERY_FILE).is_some() || self.no_input {
            return self.recovery_phrase().await.map(Some);
        }
        let question =
            "Recovery phrase (24 words), or Enter to let another device of yours approve this one: ";
        let text = prompt_shown(question).await?;
        if text.trim().is_empty() { Ok(None) } else { phrase(&text).map(Some) }
    }

    /// The password, in Unicode normal form C.
    pub(crate) async fn password(&mut self, ask: Ask) -> Result<Zeroizing<String>, Failure> {
        if let Some(given) = self.from_stdin.take() {
            return Ok(given);
        }
        if let Some(path) = std::env::var_os(PASSWORD_FILE) {
            return password(&first_line_of(Path::new(&path), MAX_PASSWORD, PASSWORD_FILE)?);
        }
        if let Some(command) = std::env::var_os(PASSWORD_COMMAND) {
            return password(&first_line_printed_by(&command)?);
        }
        if self.no_input {
            return Err(no_password("a password is needed, and --no-input forbids to ask for it"));
        }
        let first = prompt_hidden("Password: ").await?;
        if ask == Ask::Twice && *prompt_hidden("Password again: ").await? != *first {
            return Err(Failure::new(ErrorKind::Invalid, "the two passwords differ"));
        }
        password(first.as_bytes())
    }

    /// The recovery phrase: its words with one space between.
    pub(crate) async fn recovery_phrase(&self) -> Result<Zeroizing<String>, Failure> {
        let text = if let Some(path) = std::env::var_os(RECOVERY_FILE) {
            whole_file(Path::new(&path))?
        } else if self.no_input {
            return Err(Failure::new(
                ErrorKind::LoginNeeded,
                "the recovery phrase is needed, and --no-input forbids to ask for it",
            )
            .hint(format!("set {RECOVERY_FILE} to a file that holds it")));
        } else {
            prompt_shown("Recovery phrase (24 words): ").await?
        };
        phrase(&text)
    }
}

/// Words with one blank between.
fn phrase(text: &str) -> Result<Zeroizing<String>, Failure> {
    let mut phrase = Zeroizing::new(String::with_capacity(text.len()));
    for word in text.split_whitespace() {
        if !phrase.is_empty() {
            phrase.push(' ');
        }
        phrase.push_str(word);
    }
    if phrase.is_empty() {
        return Err(Failure::new(ErrorKind::Invalid, "the recovery phrase can't be empty"));
    }
    Ok(phrase)
}

/// A question with an answer that may be seen; without the blanks around it.
pub(crate) async fn ask_shown(question: &str) -> Result<String, Failure> {
    Ok(prompt_shown(question).await?.trim().to_owned())
}

/// A question that is answered with `yes` or anything else. Blocks.
pub(crate) fn confirm(question: &str) -> Result<bool, Failure> {
    let terminal = Terminal::open()?;
    ask(question);
    let answer = terminal.tty.try_clone().and_then(shown_line);
    Ok(answer.map_err(|error| no_answer(&error))?.trim().eq_ignore_ascii_case("yes"))
}

fn ask(question: &str) {
    let mut stderr = io::stderr().lock();
    let _ = stderr.write_all(question.as_bytes()).and_then(|()| stderr.flush());
}

fn no_answer(error: &io::Error) -> Failure {
    if error.kind() == io::ErrorKind::Interrupted {
        Failure::new(ErrorKind::Interrupted, "interrupted")
    } else {
        no_password("nothing was answered").cause(error)
    }
}

fn shown_line(tty: File) -> io::Result<Zeroizing<String>> {
    let line = Input::new(tty).secret_line(MAX_PHRASE)?.ok_or(io::ErrorKind::UnexpectedEof)?;
    let text = std::str::from_utf8(&line).map_err(|_| io::ErrorKind::InvalidData)?;
    Ok(Zeroizing::new(text.to_owned()))
}

fn no_password(message: &str) -> Failure {
    Failure::new(ErrorKind::LoginNeeded, message)
        .hint(format!("use --password-stdin, {PASSWORD_FILE} or {PASSWORD_COMMAND}"))
}

/// Too long is the user's error; anything else leaves us without a password.
fn unreadable(what: &str, error: &io::Error) -> Failure {
    if error.kind() == io::ErrorKind::InvalidData {
        Failure::new(ErrorKind::Invalid, format!("the password is longer than {MAX_PASSWORD} bytes"))
    } else {
        no_password(what).cause(error)
    }
}

/// Checks and normalises. NFC makes UTF-8 at most three times as long (UAX 15), so the buffer never moves.
fn password(bytes: &[u8]) -> Result<Zeroizing<String>, Failure> {
    let text = std::str::from_utf8(bytes)
        .map_err(|_| Failure::new(ErrorKind::Invalid, "the password is not UTF-8 text"))?;
    if text.is_empty() {
        return Err(Failure::new(ErrorKind::Invalid, "the password can't be empty"));
    }
    if text.len() > MAX_PASSWORD {
        return Err(Failure::new(
            ErrorKind::Invalid,
            format!("the password is longer than {MAX_PASSWORD} bytes"),
        ));
    }
    let mut normal = Zeroizing::new(String::with_capacity(3 * text.len()));
    normal.extend(text.nfc());
    Ok(normal)
}

fn first_line_of(path: &Path, max: usize, variable: &str) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let what = format!("{} (from {variable}) cannot be read", path.display());
    let line = File::open(path).and_then(|file| Input::new(file).secret_line(max));
    Ok(line.map_err(|error| unreadable(&what, &error))?.unwrap_or_default())
}

/// The shell's standard output; its errors go to ours.
fn first_line_printed_by(command: &OsString) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let failed = |error: &dyn std::fmt::Display| no_password("the password command failed").cause(error);
    let mut child = std::process::Command::new("sh")
        .arg("-c")
        .arg(command)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| failed(&error))?;
    let line = match child.stdout.take() {
        Some(stdout) => Input::new(stdout).secret_line(MAX_PASSWORD),
        None => Ok(None),
    };
    let status = child.wait().map_err(|error| failed(&error))?;
    if !status.success() {
        return Err(failed(&status));
    }
    Ok(line
        .map_err(|error| unreadable("the password command's output cannot be read", &error))?
        .unwrap_or_default())
}

fn whole_file(path: &Path) -> Result<Zeroizing<String>, Failure> {
    use io::Read;
    let unreadable = |error: io::Error| {
        Failure::new(
            ErrorKind::LoginNeeded,
            format!("{} (from {RECOVERY_FILE}) cannot be read", path.display()),
        )
        .cause(error)
    };
    let mut text = Zeroizing::new(String::with_capacity(MAX_PHRASE + 1));
    File::open(path)
        .and_then(|file| file.take(MAX_PHRASE as u64 + 1).read_to_string(&mut text))
        .map_err(unreadable)?;
    if text.len() > MAX_PHRASE {
        return Err(Failure::new(ErrorKind::Invalid, "the recovery phrase is 24 words; the file holds more"));
    }
    Ok(text)
}

/// Puts the terminal back as it was, also when the question is broken off by a signal while another thread still reads.
struct Terminal {
    tty: File,
    before: rustix::termios::Termios,
}

impl Terminal {
    fn open() -> Result<Self, Failure> {
        let none = |error: io::Error| no_password("there is no terminal to ask on").cause(error);
        let tty = File::options().read(true).write(true).open("/dev/tty").map_err(none)?;
        let before = rustix::termios::tcgetattr(&tty).map_err(|error| none(error.into()))?;
        Ok(Self { tty, before })
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = rustix::termios::tcsetattr(&self.tty, rustix::termios::OptionalActions::Now, &self.before);
    }
}

/// Asks on stderr and reads from the terminal, on a thread of its own, so that a signal is noticed meanwhile.
async fn on_terminal<T: Send + 'static>(
    question: &str,
    read: impl FnOnce(File) -> io::Result<T> + Send + 'static,
) -> Result<T, Failure> {
    let terminal = Terminal::open()?;
    let tty = terminal.tty.try_clone().map_err(|error| Failure::io("the terminal cannot be used", &error))?;
    ask(question);
    let answer = tokio::task::spawn_blocking(move || read(tty)).await;
    drop(terminal);
    match answer {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(no_answer(&error)),
        Err(error) => Err(Failure::new(ErrorKind::Bug, "the question failed").cause(error)),
    }
}

async fn prompt_hidden(question: &str) -> Result<Zeroizing<String>, Failure> {
    on_terminal(question, |_| rpassword::read_password().map(Zeroizing::new)).await
}

async fn prompt_shown(question: &str) -> Result<Zeroizing<String>, Failure> {
    on_terminal(question, shown_line).await
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn one_password_has_one_form_however_it_was_typed() {
        let composed = password("Ame\u{301}lie".as_bytes()).unwrap();
        assert_eq!(*composed, *password("Am\u{e9}lie".as_bytes()).unwrap());
        assert_eq!(*password(b" with spaces ").unwrap(), " with spaces ");
    }

    #[test]
    fn passwords_that_cannot_be_are_refused() {
        for bad in [&b""[..], b"\xff\xfe", &[b'x'; MAX_PASSWORD + 1]] {
            assert_eq!(password(bad).unwrap_err().code, 1);
        }
        assert!(password(&[b'x'; MAX_PASSWORD]).is_ok());
    }

    #[test]
    fn stdin_without_a_password_says_so() {
        let failure = Secrets::new(true, true, &mut Input::new(&b""[..])).unwrap_err();
        assert_eq!(failure.code, 4);
        assert_eq!(Secrets::new(true, true, &mut Input::new(&b"\n"[..])).unwrap_err().code, 1);
    }

    #[tokio::test]
    async fn the_line_on_stdin_is_the_password_and_the_rest_stays() {
        let mut stdin = Input::new(&b"pw\nhello\n"[..]);
        let mut secrets = Secrets::new(true, true, &mut stdin).unwrap();
        assert_eq!(*secrets.password(Ask::Twice).await.unwrap(), "pw");
        assert_eq!(stdin.text(100).unwrap(), "hello");
    }

    #[test]
    fn a_command_prints_the_password_on_its_first_line() {
        let line = first_line_printed_by(&"printf 'a b\\nrest\\n'".into()).unwrap();
        assert_eq!(line.as_slice(), b"a b");
        assert_eq!(first_line_printed_by(&"exit 3".into()).unwrap_err().code, 4);
    }
}
