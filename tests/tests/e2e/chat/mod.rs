//! `sotto chat` in a terminal of 80 columns and 24 rows, as a person uses it.

mod account;
mod live;
mod manners;
mod picture;
mod pipe;

use sotto_tests::screen::{ORDINARY, Screen, Start};
use sotto_tests::sotto::Client;

use crate::town::Town;

/// What stands below everything when nothing else is asked.
pub(crate) const MENU: [&str; 5] =
    ["1. List users", "2. Chat", "3. Exit", "4. Group chat", "Enter your choice:"];

/// Somebody with an account, at a terminal.
pub(crate) fn seat(town: &Town, person: &Client, more: &[&str]) -> Screen {
    seat_of(town, person, more, ORDINARY)
}

/// The same with another size.
pub(crate) fn seat_of(town: &Town, person: &Client, more: &[&str], size: (u16, u16)) -> Screen {
    let password = person.password_file().to_str().unwrap().to_owned();
    let data_dir = person.data_dir().to_str().unwrap();
    let mut arguments = vec!["--data-dir", data_dir, "chat"];
    arguments.extend(more);
    let environment = vec![("SOTTO_PASSWORD_FILE", password.as_str())];
    Screen::start(&Start { arguments, home: town.dir(), environment, size }).unwrap()
}

/// The menu with the prompt below it.
pub(crate) fn at_menu(screen: &Screen, name: &str) {
    below(screen, name, &[]);
}

/// Lines, then the menu with the prompt below it.
#[track_caller]
pub(crate) fn below(screen: &Screen, name: &str, lines: &[&str]) {
    let prompt = format!("{name}>");
    let mut all = lines.to_vec();
    all.extend(MENU);
    all.push(&prompt);
    screen.ends(&all).unwrap();
}

/// Two people in a live chat that the first of them asked for.
pub(crate) fn in_chat(town: &Town, first: &Client, second: &Client) -> (Screen, Screen) {
    let mut left = seat(town, first, &[]);
    let mut right = seat(town, second, &[]);
    at_menu(&left, first.name());
    at_menu(&right, second.name());
    left.enters(&format!("/invite {}", second.name())).unwrap();
    right.shows(&format!("{} asks for a live chat. Accept? (yes/no)", first.name())).unwrap();
    left.ends(&[
        &format!("Waiting for {}. (cancel takes the invitation back)", second.name()),
        &format!("{}>", first.name()),
    ])
    .unwrap();
    right.enters("yes").unwrap();
    for (screen, me, other) in [(&left, first, second), (&right, second, first)] {
        screen
            .ends(&[&format!("{} joined the conversation", other.name()), &format!("{}>", me.name())])
            .unwrap();
    }
    (left, right)
}
