//! What a build without the `failpoints` feature does: nothing, and it says so.

#![forbid(unsafe_code)]
#![cfg(not(feature = "failpoints"))]

use std::io;

use faultpoint::{
    FailGuard, FailScenario, Scenario, Scope, fail_point, fault_point, fault_point_async,
    fault_value,
};

fn passes_every_form(condition: bool) -> Result<u32, io::Error> {
    fail_point!("pass");
    fail_point!("return", |_| Ok(1));
    fail_point!("condition", condition, |reason: Option<String>| {
        reason.map_or(Ok(2), |text| Err(io::Error::other(text)))
    });
    let computed = format!("store_{}", 7);
    fail_point!(&computed);
    fault_point!("io")?;
    fault_point!("with_data", with: &mut vec![1_u8])?;
    fault_point!("with_data_and_error", with: &mut 5_u64, |_| io::ErrorKind::Other)?;
    fault_point!("error", |arg| io::Error::other(arg.parse::<String>()))?;
    Ok(fault_value!("value", u32).unwrap_or(3))
}

#[test]
fn no_site_does_anything() {
    assert_eq!(passes_every_form(true).unwrap(), 3);
    assert!(!faultpoint::has_failpoints());
    assert!(faultpoint::catalogue().is_empty());
}

#[test]
fn an_asynchronous_site_is_ready_at_once() {
    let mut future = std::pin::pin!(async {
        fault_point_async!("upload").await?;
        fault_point_async!("upload_done", |_| io::ErrorKind::TimedOut).await?;
        io::Result::Ok(5)
    });
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    let polled = std::future::Future::poll(future.as_mut(), &mut cx);
    assert!(matches!(polled, std::task::Poll::Ready(Ok(5))));
}

#[test]
fn arming_is_an_error_that_names_the_feature() {
    for error in [
        faultpoint::cfg("pass", "panic").unwrap_err(),
        faultpoint::cfg_callback("pass", || ()).unwrap_err(),
        FailGuard::new("pass", "panic").unwrap_err(),
    ] {
        assert!(error.contains("turn on the `failpoints` feature"), "{error}");
    }
    assert!(faultpoint::list().is_empty());
    faultpoint::remove("pass");
    FailScenario::setup().teardown();
}

#[test]
#[should_panic(expected = "turn on the `failpoints` feature")]
fn a_scenario_that_could_inject_nothing_does_not_begin() {
    let _ = Scenario::new();
}

#[test]
fn a_scope_is_empty() {
    assert_eq!(size_of::<Scope>(), 0);
    assert_eq!(Scope::current().spawn(|| 5).join().unwrap(), 5);
}

#[test]
fn nobody_hears_anything_and_asking_for_a_point_is_an_error_that_names_the_feature() {
    use faultfs::errno::EIO;
    use faultfs::plan::on;
    let _listening = faultpoint::listen(&Scope::current(), |pass| panic!("{pass:?}"));
    let fs = faultfs::FaultFs::mem();
    fail_point!("pass");
    assert!(fs.trace().passed.is_empty() && faultpoint::last_passes().is_empty());

    let arm = || fs.arm(on::sync().after_point("pass").fail(EIO));
    let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(arm)).unwrap_err();
    let message = panic.downcast::<String>().unwrap();
    assert!(message.contains("turn on the `failpoints` feature"), "{message}");

    let explored = faultfs::explore(|fs| Ok(fs.write("a", "x")?))
        .named("off")
        .in_process()
        .at_point("pass")
        .reports(|_, _| Ok(()));
    let error = explored.unwrap_err().to_string();
    assert!(error.contains("fail points are compiled out of this program"), "{error}");
}
