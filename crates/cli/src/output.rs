//! Where everything a command says goes: data to stdout, as lines for people or as JSON objects; everything else to stderr.

use std::io::{self, IsTerminal, Write};

use zeroize::Zeroizing;

use crate::failure::Failure;
use crate::record::Record;
use crate::untrusted::Sanitised;

/// Whether a colour is wanted: `auto` on a terminal that has colours, unless NO_COLOR is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Colour {
    #[default]
    Auto,
    Always,
    Never,
}

impl Colour {
    fn wanted(self, terminal: bool) -> bool {
        match self {
            Self::Always => true,
            Self::Never => false,
            Self::Auto => {
                terminal
                    && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
                    && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
            }
        }
    }
}

/// Whether what was to be printed has left this program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Printed {
    /// Flushed.
    Yes,
    /// The reader of stdout is gone. Nothing more is written there; a command that only prints ends quietly.
    ReaderGone,
}

/// How a person's line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    /// As it is.
    Plain,
    /// Well done.
    Good,
    /// To be looked at.
    Bad,
    /// Beside the point.
    Faint,
}

impl Tone {
    fn code(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Good => "\x1b[32m",
            Self::Bad => "\x1b[31m",
            Self::Faint => "\x1b[2m",
        }
    }
}

/// Both streams of a command.
#[derive(Debug)]
pub(crate) struct Output {
    remarks: Remarks,
    stdout_colour: bool,
    reader_gone: bool,
    /// Takes the place of stdout in tests.
    #[cfg(test)]
    captured: Option<Vec<u8>>,
}

impl Output {
    /// Looks at the streams of this process.
    pub(crate) fn new(json: bool, quiet: bool, colour: Colour) -> Self {
        Self {
            remarks: Remarks { json, quiet, colour: !json && colour.wanted(io::stderr().is_terminal()) },
            stdout_colour: !json && colour.wanted(io::stdout().is_terminal()),
            reader_gone: false,
            #[cfg(test)]
            captured: None,
        }
    }

    /// Keeps what would go to stdout.
    #[cfg(test)]
    pub(crate) fn captured(json: bool, colour: Colour) -> Self {
        Self { captured: Some(Vec::new()), ..Self::new(json, false, colour) }
    }

    /// What went to stdout.
    #[cfg(test)]
    pub(crate) fn into_captured(self) -> String {
        String::from_utf8(self.captured.unwrap_or_default()).unwrap_or_default()
    }

    /// Whether stdout holds JSON objects.
    pub(crate) fn json(&self) -> bool {
        self.remarks.json
    }

    /// Whether what goes to stdout has colours.
    pub(crate) fn colour(&self) -> bool {
        self.stdout_colour
    }

    /// The way to stderr.
    pub(crate) fn remarks(&self) -> Remarks {
        self.remarks
    }

    /// Prints an object: as JSON, or as the lines that `people` makes of it.
    pub(crate) fn record(
        &mut self,
        record: &Record,
        people: impl FnOnce(&mut Lines),
    ) -> Result<Printed, Failure> {
        let text = if self.json() {
            let mut line = record.to_json();
            line.push('\n');
            line
        } else {
            let mut lines = Lines { text: String::new(), colour: self.stdout_colour };
            people(&mut lines);
            lines.text
        };
        self.write(Zeroizing::new(text).as_bytes())
    }

    /// Prints lines for people; nothing in JSON.
    pub(crate) fn people(&mut self, people: impl FnOnce(&mut Lines)) -> Result<Printed, Failure> {
        if self.json() {
            return Ok(if self.reader_gone { Printed::ReaderGone } else { Printed::Yes });
        }
        let mut lines = Lines { text: String::new(), colour: self.stdout_colour };
        people(&mut lines);
        self.write(lines.text.as_bytes())
    }

    /// Writes what is made to be read by another program as it is: a completion script, a schema.
    pub(crate) fn raw(&mut self, bytes: &[u8]) -> Result<Printed, Failure> {
        self.write(bytes)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<Printed, Failure> {
        if self.reader_gone {
            return Ok(Printed::ReaderGone);
        }
        #[cfg(test)]
        if let Some(captured) = &mut self.captured {
            captured.extend_from_slice(bytes);
            return Ok(Printed::Yes);
        }
        let mut stdout = io::stdout().lock();
        match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
            Ok(()) => Ok(Printed::Yes),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.reader_gone = true;
                Ok(Printed::ReaderGone)
            }
            Err(error) => Err(Failure::io("the output could not be written", &error)),
        }
    }

    /// Progress and other remarks; silent with `-q`.
    pub(crate) fn notice(&self, message: &str) {
        self.remarks.notice(message);
    }

    /// What the user must know though the command goes on.
    pub(crate) fn warning(&self, message: &str) {
        self.remarks.warning(message);
    }
}

/// Everything that is not data: it goes to stderr.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Remarks {
    json: bool,
    quiet: bool,
    colour: bool,
}

impl Remarks {
    /// Progress and other remarks; silent with `-q`.
    pub(crate) fn notice(self, message: &str) {
        if !self.quiet {
            self.remark(&Record::Notice { message: message.to_owned() }, "", Tone::Faint, message);
        }
    }

    /// What the user must know though the command goes on.
    pub(crate) fn warning(self, message: &str) {
        self.remark(&Record::Warning { message: message.to_owned() }, "warning: ", Tone::Bad, message);
    }

    /// What has to be typed on another device; said in any case, for nothing goes on without it.
    pub(crate) fn device_code(self, code: &str) {
        if self.json {
            return say(&format!("{}\n", Record::DeviceCode { code: code.to_owned() }.to_json()));
        }
        let mut lines = Lines { text: String::new(), colour: self.colour };
        lines.line("This machine waits to be added to the account. On a device of yours that has it, type");
        lines.toned(Tone::Good, &format!("    sotto device approve {code}"));
        say(&lines.text);
    }

    fn remark(self, record: &Record, label: &str, tone: Tone, message: &str) {
        let text = if self.json {
            format!("{}\n", record.to_json())
        } else {
            let mut lines = Lines { text: String::new(), colour: self.colour };
            lines.toned(tone, &format!("{label}{message}"));
            lines.text
        };
        say(&text);
    }

    /// The end of a command that failed.
    pub(crate) fn failure(self, failure: &Failure) {
        if self.json {
            say(&format!("{}\n", Record::from(failure).to_json()));
            return;
        }
        let mut lines = Lines { text: String::new(), colour: self.colour };
        lines.labelled(Tone::Bad, "error", &failure.message);
        if let Some(cause) = &failure.cause {
            lines.labelled(Tone::Plain, "cause", cause);
        }
        if let Some(hint) = &failure.hint {
            lines.labelled(Tone::Good, "hint", hint);
        }
        say(&lines.text);
    }
}

/// Writes to stderr; where nobody reads it, nobody can be told.
fn say(text: &str) {
    let mut stderr = io::stderr().lock();
    let _ = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
}

/// Lines for a person in the making. Every text is sanitised as it is added; colours are put around it afterwards.
#[derive(Debug)]
pub(crate) struct Lines {
    text: String,
    colour: bool,
}

impl Lines {
    /// For what is not printed through [`Output`].
    pub(crate) fn new(colour: bool) -> Self {
        Self { text: String::new(), colour }
    }

    /// Without colours.
    #[cfg(test)]
    pub(crate) fn plain() -> Self {
        Self::new(false)
    }

    /// One line.
    pub(crate) fn line(&mut self, text: &str) {
        self.toned(Tone::Plain, text);
    }

    /// One line in a tone.
    pub(crate) fn toned(&mut self, tone: Tone, text: &str) {
        let text = Sanitised::line(text);
        self.paint(tone, text.as_str());
        self.text.push('\n');
    }

    /// `label: text` with only the label in the tone.
    pub(crate) fn labelled(&mut self, tone: Tone, label: &str, text: &str) {
        self.paint(tone, Sanitised::line(label).as_str());
        let mut lines = Sanitised::lines(text).into_iter();
        let first = lines.next().map(|line| line.to_string()).unwrap_or_default();
        self.text.push_str(": ");
        self.text.push_str(&first);
        self.text.push('\n');
        self.indented(lines);
    }

    /// A message: its head and first line on one line, further lines indented, so that none of them can pose as a
    /// message of its own.
    pub(crate) fn message(&mut self, head: &str, text: &str, tail: &str) {
        let mut lines = Sanitised::lines(text).into_iter();
        let first = lines.next().map(|line| line.to_string()).unwrap_or_default();
        self.text.push_str(Sanitised::line(head).as_str());
        self.text.push_str(&first);
        if !tail.is_empty() {
            self.text.push_str("  ");
            self.paint(Tone::Faint, Sanitised::line(tail).as_str());
        }
        self.text.push('\n');
        self.indented(lines);
    }

    fn indented(&mut self, lines: impl Iterator<Item = Sanitised>) {
        for line in lines {
            self.text.push_str("    ");
            self.text.push_str(line.as_str());
            self.text.push('\n');
        }
    }

    fn paint(&mut self, tone: Tone, text: &str) {
        let code = if self.colour { tone.code() } else { "" };
        self.text.push_str(code);
        self.text.push_str(text);
        if !code.is_empty() {
            self.text.push_str("\x1b[0m");
        }
    }

    /// What was made.
    pub(crate) fn into_text(self) -> String {
        self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_cannot_pose_as_two() {
        let mut lines = Lines::plain();
        lines.message("12:00 bob: ", "hi\n12:01 alice: give bob the key\r\n", "[stored]");
        assert_eq!(lines.into_text(), "12:00 bob: hi  [stored]\n    12:01 alice: give bob the key\n    \n");
    }

    #[test]
    fn colours_stand_around_text_and_never_come_from_it() {
        let mut lines = Lines { text: String::new(), colour: true };
        lines.toned(Tone::Bad, "\x1b[0mx");
        lines.labelled(Tone::Good, "hint", "a\x1b[2J");
        assert_eq!(lines.into_text(), "\x1b[31m\u{fffd}[0mx\x1b[0m\n\x1b[32mhint\x1b[0m: a\u{fffd}[2J\n");
    }

    #[test]
    fn colour_follows_the_flag_before_the_terminal() {
        assert!(Colour::Always.wanted(false));
        assert!(!Colour::Never.wanted(true));
        assert!(!Colour::Auto.wanted(false));
    }
}
