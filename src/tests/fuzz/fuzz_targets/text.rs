//! Whatever text comes in, as actions or as `FAILPOINTS`: an error of one line that names a place,
//! or actions that print as text that parses to the same.
#![no_main]

use faultpoint::{__private, Actions, Error};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    match text.parse::<Actions>() {
        Ok(actions) => round_trip(&actions),
        Err(error) => check_error(text, &error),
    }
    match __private::settings(text) {
        Ok(settings) => settings.iter().for_each(|(name, actions)| {
            assert!(!name.is_empty() && name.trim() == name);
            round_trip(actions);
            let again = __private::settings(&format!("{name}={actions};")).unwrap();
            assert_eq!(again, [(name.clone(), actions.clone())]);
        }),
        Err(error) => check_error(text, &error),
    }
});

fn round_trip(actions: &Actions) {
    let printed = actions.to_string();
    let parsed: Actions = printed.parse().unwrap();
    assert_eq!(parsed, *actions);
    assert_eq!(parsed.to_string(), printed);
}

fn check_error(text: &str, error: &Error) {
    let message = error.to_string();
    assert!(!message.chars().any(char::is_control), "{message}");
    if !text.chars().any(char::is_control) {
        assert!(message.contains(text), "{message}");
    }
    let place = message.split_once(", column ").unwrap().1;
    assert!(place.contains(": "), "{message}");
}
