//! What the macros expand to. Not for anybody else.
//!
//! What comes after an early return was decided is kept out of the function around the site, so
//! that the idle path has nothing to set up for it.

use std::any::Any;
use std::fmt;
use std::io;
use std::str::FromStr;

#[cfg(all(feature = "failpoints", not(any(miri, target_family = "wasm"))))]
pub use linkme::{self, distributed_slice};

/// For the fuzz target: what `FAILPOINTS` is parsed with.
pub use crate::action::settings;
#[cfg(all(feature = "failpoints", not(any(miri, target_family = "wasm"))))]
pub use crate::catalogue::SITES;
pub use crate::site::{Form, pass, pass_async, pass_named, pass_with};

use crate::arg::Arg;
use crate::site::taken;

/// The value of `fail_point!` with a closure.
#[cold]
#[inline(never)]
pub fn returned<T>(make: impl FnOnce(Option<String>) -> T) -> T {
    make(taken_text())
}

/// Apart from [`returned`], which is made for each site.
fn taken_text() -> Option<String> {
    taken().into_text()
}

/// A return at a `fail_point!` without a closure.
#[cold]
#[track_caller]
pub fn refuse_return(name: &str) -> ! {
    drop(taken());
    panic!("Return is not supported for the fail point \"{name}\"");
}

/// The error of `fault_point!` with a closure.
#[cold]
#[inline(never)]
pub fn error<E>(make: impl FnOnce(Arg) -> E) -> E {
    make(taken())
}

/// The error of `fault_point!` without one.
#[cold]
#[inline(never)]
#[track_caller]
pub fn io_error() -> io::Error {
    taken().into_io_error()
}

/// The value of `fault_value!`.
#[cold]
#[inline(never)]
#[track_caller]
pub fn value<T>() -> T
where
    T: FromStr + Any,
    T::Err: fmt::Display,
{
    taken().into_value()
}

/// The result of `fault_point_async!` with a closure.
pub fn async_result<E>(armed: Option<Arg>, make: impl FnOnce(Arg) -> E) -> Result<(), E> {
    armed.map_or(Ok(()), |arg| Err(make(arg)))
}

/// The result of `fault_point_async!` without one.
pub fn async_io_result(armed: Option<Arg>) -> io::Result<()> {
    armed.map_or(Ok(()), |arg| Err(arg.into_io_error()))
}

/// Where the feature is off: what a site hands over is checked, nothing is called.
pub fn off_with(_data: &mut dyn Any) {}
