//! What an early return carries to the site.

use std::any::{Any, type_name};
use std::fmt;
use std::io;
use std::str::FromStr;

use crate::errno;
use crate::site::Site;

/// The argument of an early return, as it reaches the site's closure: the text of
/// `return(text)`, or a value that a callback [gave](crate::Outcome::value).
pub struct Arg {
    site: &'static Site,
    payload: Payload,
}

enum Payload {
    Nothing,
    Text(String),
    Value(Box<dyn Any + Send>),
}

impl Arg {
    pub(crate) fn text_at(site: &'static Site, text: Option<String>) -> Arg {
        Arg { site, payload: text.map_or(Payload::Nothing, Payload::Text) }
    }

    pub(crate) fn value_at(site: &'static Site, value: Box<dyn Any + Send>) -> Arg {
        Arg { site, payload: Payload::Value(value) }
    }

    /// The text in the parentheses; `None` for a bare `return` and for a callback's value.
    pub fn text(&self) -> Option<&str> {
        match &self.payload {
            Payload::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The text as a `T`.
    ///
    /// # Panics
    ///
    /// When there is none or it does not parse: the test that armed the point is mistaken.
    #[track_caller]
    pub fn parse<T>(&self) -> T
    where
        T: FromStr,
        T::Err: fmt::Display,
    {
        let (name, kind) = (self.name(), type_name::<T>());
        let Some(text) = self.text() else {
            panic!("fail point `{name}` needs a `{kind}`; arm it with `return(value)`");
        };
        text.parse().unwrap_or_else(|error| {
            panic!("fail point `{name}`: `{text}` is not a `{kind}`: {error}")
        })
    }

    /// The value that a callback gave, if it gave a `T`.
    pub fn value<T: Any>(self) -> Option<T> {
        match self.payload {
            Payload::Value(value) => value.downcast().ok().map(|boxed| *boxed),
            _ => None,
        }
    }

    #[inline(always)]
    pub(crate) fn into_text(self) -> Option<String> {
        match self.payload {
            Payload::Text(text) => Some(text),
            _ => None,
        }
    }

    #[track_caller]
    pub(crate) fn into_io_error(self) -> io::Error {
        let name = self.name();
        match self.payload {
            Payload::Nothing => errno::default_error(),
            Payload::Text(text) => match errno::parse(&text) {
                Ok(number) => io::Error::from_raw_os_error(number),
                Err(reason) => panic!("fail point `{name}`: {reason}"),
            },
            Payload::Value(value) => match value.downcast::<io::Error>() {
                Ok(error) => *error,
                Err(_) => panic!(
                    "the callback at fail point `{name}` gave a value that is not a \
                     `std::io::Error`; give one, or return `Task::errno(\"EIO\")`"
                ),
            },
        }
    }

    #[track_caller]
    pub(crate) fn into_value<T>(self) -> T
    where
        T: FromStr + Any,
        T::Err: fmt::Display,
    {
        let name = self.name();
        match self.payload {
            Payload::Value(value) => match value.downcast::<T>() {
                Ok(value) => *value,
                Err(_) => panic!(
                    "the callback at fail point `{name}` gave a value that is not a `{}`",
                    type_name::<T>()
                ),
            },
            _ => self.parse(),
        }
    }

    fn name(&self) -> &'static str {
        self.site.name().unwrap_or("(computed)")
    }
}

impl fmt::Debug for Arg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arg")
            .field("name", &self.name())
            .field("text", &self.text())
            .field("has_value", &matches!(self.payload, Payload::Value(_)))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::site::Form;

    static SITE: Site = Site::new(Some("p"), Form::ERROR, "", "", ("", 0, 0));

    fn text(text: &str) -> Arg {
        Arg::text_at(&SITE, Some(text.to_owned()))
    }

    #[test]
    fn a_callback_value_comes_out_as_its_type() {
        let given = |value: Box<dyn Any + Send>| Arg::value_at(&SITE, value);
        assert_eq!(given(Box::new(7_u64)).value::<u64>(), Some(7));
        assert_eq!(given(Box::new(7_u64)).value::<u32>(), None);
        assert_eq!(given(Box::new(7_u64)).into_value::<u64>(), 7);
        let full = io::Error::from_raw_os_error(28);
        assert_eq!(given(Box::new(full)).into_io_error().raw_os_error(), Some(28));
    }

    #[test]
    fn text_parses_to_what_the_site_asks_for() {
        assert_eq!(text("42").parse::<u16>(), 42);
        assert_eq!(text("42").into_value::<u16>(), 42);
        assert_eq!(Arg::text_at(&SITE, None).into_io_error().raw_os_error(), Some(5));
        assert_eq!(text("28").into_io_error().raw_os_error(), Some(28));
    }

    #[test]
    #[should_panic(expected = "fail point `p`: `x` is not a `u16`")]
    fn text_of_another_type_names_the_point() {
        text("x").parse::<u16>();
    }

    #[test]
    #[should_panic(expected = "fail point `p` needs a `u16`; arm it with `return(value)`")]
    fn a_missing_argument_names_the_point() {
        Arg::text_at(&SITE, None).parse::<u16>();
    }
}
