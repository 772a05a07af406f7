//! The macros that make a site. On: a `static` with its gate, an entry in the catalogue, a load
//! and a branch. Off: nothing, but what stands at the site is type-checked all the same.

/// The `static` of one site, listed by the linker.
#[cfg(all(feature = "failpoints", not(any(miri, target_family = "wasm"))))]
#[doc(hidden)]
#[macro_export]
macro_rules! __site {
    ($name:expr, $form:expr) => {{
        static SITE: $crate::Site = $crate::Site::new(
            $name,
            $form,
            ::std::env!("CARGO_PKG_NAME"),
            ::std::module_path!(),
            (::std::file!(), ::std::line!(), ::std::column!()),
        );
        #[$crate::__private::distributed_slice($crate::__private::SITES)]
        #[linkme(crate = $crate::__private::linkme)]
        static ENTRY: &$crate::Site = &SITE;
        &SITE
    }};
}

/// The `static` of one site, listed from its first pass on.
#[cfg(all(feature = "failpoints", any(miri, target_family = "wasm")))]
#[doc(hidden)]
#[macro_export]
macro_rules! __site {
    ($name:expr, $form:expr) => {{
        static SITE: $crate::Site = $crate::Site::new(
            $name,
            $form,
            ::std::env!("CARGO_PKG_NAME"),
            ::std::module_path!(),
            (::std::file!(), ::std::line!(), ::std::column!()),
        );
        &SITE
    }};
}

/// A fail point in the three forms of the `fail` crate.
///
/// 1. `fail_point!("name")` can panic, print, sleep, pause, yield, delay and call back.
/// 2. `fail_point!("name", |argument| value)` can also return early from the function around it,
///    with what the closure makes of the argument of `return(argument)`, an `Option<String>`.
/// 3. `fail_point!("name", condition, |argument| value)` is one only where the condition holds. It
///    is evaluated only while the point is armed, or somebody [listens](crate::listen) to all passes.
///
/// A name that is not a literal is looked up at every pass while anything is armed anywhere, and
/// is not in the [catalogue](crate::catalogue()). For new code [`fault_point!`](crate::fault_point)
/// shows the early return as a `?`.
///
/// With the `failpoints` feature off this is no code at all, but it must compile.
///
/// ```
/// use faultpoint::fail_point;
///
/// fn get(key: &str) -> Result<Option<String>, String> {
///     fail_point!("get_fails_with_error", |reason| Err(reason.unwrap_or_default()));
///     Ok(Some(format!("the value of {key}")))
/// }
/// # assert!(get("k").is_ok());
/// ```
#[cfg(feature = "failpoints")]
#[macro_export]
macro_rules! fail_point {
    ($name:literal $(,)?) => {{
        let site =
            $crate::__site!(::std::option::Option::Some($name), $crate::__private::Form::PASS);
        if site.is_open() && $crate::__private::pass(site) {
            $crate::__private::refuse_return($name);
        }
    }};
    ($name:literal, $returned:expr $(,)?) => {{
        let site =
            $crate::__site!(::std::option::Option::Some($name), $crate::__private::Form::RETURN);
        if site.is_open() && $crate::__private::pass(site) {
            return $crate::__private::returned($returned);
        }
    }};
    ($name:literal, $condition:expr, $returned:expr $(,)?) => {{
        let site =
            $crate::__site!(::std::option::Option::Some($name), $crate::__private::Form::RETURN);
        if site.is_open() && $condition && $crate::__private::pass(site) {
            return $crate::__private::returned($returned);
        }
    }};
    ($name:expr $(,)?) => {{
        let site = $crate::__site!(::std::option::Option::None, $crate::__private::Form::PASS);
        if site.is_open() {
            let name: &str = $name;
            if $crate::__private::pass_named(site, name) {
                $crate::__private::refuse_return(name);
            }
        }
    }};
    ($name:expr, $returned:expr $(,)?) => {{ $crate::fail_point!($name, true, $returned) }};
    ($name:expr, $condition:expr, $returned:expr $(,)?) => {{
        let site = $crate::__site!(::std::option::Option::None, $crate::__private::Form::RETURN);
        if site.is_open() && $condition && $crate::__private::pass_named(site, $name) {
            return $crate::__private::returned($returned);
        }
    }};
}

/// A fail point in the three forms of the `fail` crate: off in this build, see the `failpoints`
/// feature. No code, but what it says is type-checked:
///
/// ```compile_fail,E0308
/// fn get() -> Result<u32, String> {
///     faultpoint::fail_point!("get_fails_with_error", |_| Err(5));
///     Ok(1)
/// }
/// ```
#[cfg(not(feature = "failpoints"))]
#[macro_export]
macro_rules! fail_point {
    ($name:expr $(,)?) => {{
        if false {
            let _: &str = $name;
        }
    }};
    ($name:expr, $returned:expr $(,)?) => {{ $crate::fail_point!($name, true, $returned) }};
    ($name:expr, $condition:expr, $returned:expr $(,)?) => {{
        if false {
            let _: &str = $name;
            let _: bool = $condition;
            return $crate::__private::returned($returned);
        }
    }};
}

/// A fail point that is an expression: `Ok(())`, or the error to inject.
///
/// - `fault_point!("name")?` is a [`std::io::Result`]: `return(ENOSPC)` or `return(28)` gives that
///   error of the operating system as it would come from a system call, a bare `return` gives
///   `EIO`.
/// - `fault_point!("name", |arg| error)?` gives an error of the caller's own type, made from the
///   [`Arg`](crate::Arg) of the early return.
/// - `with: &mut data` before the closure hands data to a [callback](crate::Instance::on), which
///   may look at it and change it.
///
/// It can also do all that [`fail_point!`](crate::fail_point) can. With the `failpoints` feature
/// off it is a constant `Ok(())`, and what it says is type-checked.
///
/// ```
/// use faultpoint::fault_point;
/// use std::io;
///
/// #[derive(Debug)]
/// enum Error {
///     Corrupt { offset: u64 },
///     Io(io::Error),
/// }
///
/// impl From<io::Error> for Error {
///     fn from(error: io::Error) -> Error {
///         Error::Io(error)
///     }
/// }
///
/// fn append(batch: &mut Vec<u8>) -> Result<(), Error> {
///     fault_point!("log_append", with: batch)?;
///     fault_point!("log_append_checked", |arg| Error::Corrupt { offset: arg.parse() })?;
///     Ok(())
/// }
/// # assert!(append(&mut vec![1]).is_ok());
/// # let _ = (Error::Corrupt { offset: 0 }, io::Error::from_raw_os_error(5));
/// ```
#[cfg(feature = "failpoints")]
#[macro_export]
macro_rules! fault_point {
    ($name:literal $(,)?) => {{
        let site = $crate::__site!(::std::option::Option::Some($name), $crate::__private::Form::IO);
        if site.is_open() && $crate::__private::pass(site) {
            ::std::result::Result::Err($crate::__private::io_error())
        } else {
            ::std::result::Result::Ok(())
        }
    }};
    ($name:literal, with: $data:expr $(,)?) => {{
        let site = $crate::__site!(::std::option::Option::Some($name), $crate::__private::Form::IO);
        if site.is_open() && $crate::__private::pass_with(site, $data) {
            ::std::result::Result::Err($crate::__private::io_error())
        } else {
            ::std::result::Result::Ok(())
        }
    }};
    ($name:literal, with: $data:expr, $error:expr $(,)?) => {{
        let site =
            $crate::__site!(::std::option::Option::Some($name), $crate::__private::Form::ERROR);
        if site.is_open() && $crate::__private::pass_with(site, $data) {
            ::std::result::Result::Err($crate::__private::error($error))
        } else {
            ::std::result::Result::Ok(())
        }
    }};
    ($name:literal, $error:expr $(,)?) => {{
        let site =
            $crate::__site!(::std::option::Option::Some($name), $crate::__private::Form::ERROR);
        if site.is_open() && $crate::__private::pass(site) {
            ::std::result::Result::Err($crate::__private::error($error))
        } else {
            ::std::result::Result::Ok(())
        }
    }};
}

/// A fail point that is an expression: off in this build, see the `failpoints` feature. Always
/// `Ok(())`, but what it says is type-checked.
#[cfg(not(feature = "failpoints"))]
#[macro_export]
macro_rules! fault_point {
    ($name:literal $(,)?) => {{
        if false {
            let _: &str = $name;
            ::std::result::Result::Err($crate::__private::io_error())
        } else {
            ::std::result::Result::Ok(())
        }
    }};
    ($name:literal, with: $data:expr $(,)?) => {{
        if false {
            let _: &str = $name;
            $crate::__private::off_with($data);
            ::std::result::Result::Err($crate::__private::io_error())
        } else {
            ::std::result::Result::Ok(())
        }
    }};
    ($name:literal, with: $data:expr, $error:expr $(,)?) => {{
        if false {
            let _: &str = $name;
            $crate::__private::off_with($data);
            ::std::result::Result::Err($crate::__private::error($error))
        } else {
            ::std::result::Result::Ok(())
        }
    }};
    ($name:literal, $error:expr $(,)?) => {{
        if false {
            let _: &str = $name;
            ::std::result::Result::Err($crate::__private::error($error))
        } else {
            ::std::result::Result::Ok(())
        }
    }};
}

/// A fail point that can stand in for a value: `Some` of what `return(value)` says, parsed as the
/// given type, or of what a callback [gave](crate::Outcome::value); else `None`.
///
/// With the `failpoints` feature off it is a constant `None`.
///
/// ```
/// use faultpoint::fault_value;
///
/// fn cache_capacity() -> usize {
///     fault_value!("cache_capacity", usize).unwrap_or(1 << 20)
/// }
/// # if !faultpoint::has_failpoints() { assert_eq!(cache_capacity(), 1 << 20); return }
/// let faults = faultpoint::Scenario::new();
/// faults.arm("cache_capacity", "return(2)");
/// assert_eq!(cache_capacity(), 2);
/// ```
#[cfg(feature = "failpoints")]
#[macro_export]
macro_rules! fault_value {
    ($name:literal, $type:ty $(,)?) => {{
        let site = $crate::__site!(
            ::std::option::Option::Some($name),
            $crate::__private::Form::value::<$type>()
        );
        if site.is_open() && $crate::__private::pass(site) {
            ::std::option::Option::Some($crate::__private::value::<$type>())
        } else {
            ::std::option::Option::None
        }
    }};
}

/// A fail point that can stand in for a value: off in this build, see the `failpoints` feature.
/// Always `None`.
#[cfg(not(feature = "failpoints"))]
#[macro_export]
macro_rules! fault_value {
    ($name:literal, $type:ty $(,)?) => {{
        if false {
            let _: &str = $name;
            ::std::option::Option::Some($crate::__private::value::<$type>())
        } else {
            ::std::option::Option::None
        }
    }};
}

/// [`fault_point!`](crate::fault_point) in asynchronous code: a future of the same result, to
/// `await`. Sleeps, delays and pauses hold up the task only, not its executor, whichever that is.
///
/// With the `failpoints` feature off it is a future that is ready at once.
///
/// ```
/// use faultpoint::fault_point_async;
///
/// async fn upload() -> std::io::Result<()> {
///     fault_point_async!("upload_begun").await?;
///     fault_point_async!("upload_done", |_| std::io::ErrorKind::TimedOut).await?;
///     Ok(())
/// }
/// # drop(upload());
/// ```
#[cfg(feature = "failpoints")]
#[macro_export]
macro_rules! fault_point_async {
    ($name:literal $(,)?) => {{
        let site = $crate::__site!(::std::option::Option::Some($name), $crate::__private::Form::IO);
        async move {
            if site.is_open() {
                $crate::__private::async_io_result($crate::__private::pass_async(site).await)
            } else {
                ::std::result::Result::Ok(())
            }
        }
    }};
    ($name:literal, $error:expr $(,)?) => {{
        let site =
            $crate::__site!(::std::option::Option::Some($name), $crate::__private::Form::ERROR);
        async {
            if site.is_open() {
                $crate::__private::async_result($crate::__private::pass_async(site).await, $error)
            } else {
                ::std::result::Result::Ok(())
            }
        }
    }};
}

/// A fail point in asynchronous code: off in this build, see the `failpoints` feature. A future
/// that is ready with `Ok(())` at once, but what it says is type-checked.
#[cfg(not(feature = "failpoints"))]
#[macro_export]
macro_rules! fault_point_async {
    ($name:literal $(,)?) => {{ ::std::future::ready($crate::fault_point!($name)) }};
    ($name:literal, $error:expr $(,)?) => {{ ::std::future::ready($crate::fault_point!($name, $error)) }};
}
