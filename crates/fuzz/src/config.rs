//! Configuration, command lines, and everything that people type or copy.

use sotto_cli::fuzzing as client;
use sotto_crypto::{PendingCode, RecoveryPhrase, SafetyNumber};
use sotto_proto::{
    AccountId, Address, MessageId, ResetCode, ServerId, Username,
    limits::{DAY_MS, MAX_NAME_LENGTH},
};
use sotto_server::fuzzing as server;

use crate::input::Input;

/// A text for one of the parsers.
pub fn config(data: &[u8]) {
    let mut input = Input::new(data);
    let parser = input.u8() % 9;
    let text = String::from_utf8_lossy(input.rest());
    match parser {
        0 => {
            // What is shown is checked to read back as the same.
            let _ = server::config(Some(&text), &[]).is_ok();
        }
        1 => {
            let variables: Vec<(String, String)> = text
                .lines()
                .filter_map(|line| line.split_once('='))
                .map(|(name, value)| (format!("SOTTOD_{name}"), value.to_owned()))
                .collect();
            let _ = server::config(None, &variables).is_ok();
        }
        2 => {
            if let Err(problem) = client::config(&text) {
                assert!(!problem.is_empty());
            }
        }
        3 => address(&text),
        4 => names(&text),
        5 => phrase(&text),
        6 => codes(&text),
        7 => times(&text),
        _ => command_lines(&text),
    }
}

fn address(text: &str) {
    let Ok(address) = text.parse::<Address>() else { return };
    assert!(address.port > 0 && !address.host.is_empty());
    assert!(address.host.chars().all(|c| c.is_ascii_graphic() && !c.is_ascii_uppercase()));
    for spelling in [address.to_string(), address.to_qr_text(), format!(" {address}\n")] {
        assert_eq!(spelling.parse().as_ref(), Ok(&address), "{spelling:?} of {text:?}");
    }
}

fn names(text: &str) {
    if let Ok(name) = Username::parse(text) {
        assert!((1..=MAX_NAME_LENGTH).contains(&name.as_str().len()));
        assert_eq!(Username::parse(name.as_str()).as_ref(), Ok(&name));
        assert_eq!(Username::try_from(name.as_str().to_owned()), Ok(name.clone()));
        assert_eq!(text.to_ascii_lowercase(), name.as_str());
        assert!(name.skeleton().len() <= name.as_str().len());
        assert!(client::recipient(text).is_some());
    }
    let _ = client::recipient(text);
    if let Ok(name) = client::profile_name(text) {
        assert!(!name.contains('/') && !name.starts_with('.') && name == text);
    }
    let known = ["exit", "help", "list"];
    assert!(client::nearest(text, &known).is_none_or(|near| known.contains(&near)));
}

fn phrase(text: &str) {
    let Ok(account) = RecoveryPhrase::parse(text) else { return };
    let spelled = RecoveryPhrase::of(&account);
    let words: Vec<String> = text.split_whitespace().map(str::to_ascii_lowercase).collect();
    assert_eq!(spelled.expose(), words.join(" "));
    assert_eq!(*RecoveryPhrase::parse(spelled.expose()).ok().unwrap().seed(), *account.seed());
}

fn codes(text: &str) {
    if let Ok(code) = PendingCode::parse(text) {
        assert_eq!(PendingCode::parse(&code.to_string()), Ok(code));
        assert_eq!(ResetCode::parse(text).unwrap().to_string(), code.to_string());
    }
    if let Ok(number) = SafetyNumber::parse(text) {
        assert_eq!(SafetyNumber::parse(&number.to_string()), Ok(number));
    }
    if let Ok(id) = text.parse::<MessageId>() {
        assert_eq!(id.to_string(), text.to_ascii_lowercase());
        assert_eq!(text.parse::<AccountId>().unwrap().0, id.0);
    }
    if let Ok(id) = text.parse::<ServerId>() {
        assert_eq!(id.to_string().parse(), Ok(id));
    }
}

fn times(text: &str) {
    if let Ok(ms) = server::duration(text) {
        assert!((60_000..=3650 * DAY_MS).contains(&ms));
        assert!(!server::rfc3339(ms).is_empty());
    }
    let _ = client::duration(text).is_ok();
    if let Some((ms, printed)) = client::time(text) {
        assert_eq!(client::time(&printed), Some((ms, printed.clone())), "{text:?}");
    }
}

fn command_lines(text: &str) {
    let args = |program: &str| -> Vec<String> {
        std::iter::once(program).chain(text.split('\n')).map(str::to_owned).collect()
    };
    for problem in [client::command_line(&args("sotto")).err(), server::command_line(&args("sottod")).err()] {
        assert!(problem.is_none_or(|problem| !problem.is_empty()));
    }
}
