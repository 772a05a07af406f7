//! Sites: their forms, their gates, the catalogue.

use std::io;
use std::sync::atomic::{AtomicU32, Ordering};

use super::run_child;
use faultpoint::{Scenario, Task, catalogue, fail_point, fault_point, fault_value};

fn lines_of(name: &str) -> Vec<u32> {
    let sites = catalogue();
    sites.iter().filter(|site| site.name() == Some(name)).map(|site| site.line()).collect()
}

#[allow(dead_code)]
fn never_called() {
    fail_point!("points_never_called");
}

fn generic<T: Default>() -> T {
    fail_point!("points_generic", |_| T::default());
    T::default()
}

#[test]
fn the_catalogue_lists_sites_that_were_never_called() {
    assert_eq!(lines_of("points_never_called").len(), 1);
    let sites = catalogue();
    let site = sites.iter().find(|site| site.name() == Some("points_never_called")).unwrap();
    assert!(!site.was_passed());
    assert_eq!(site.package(), "faultpoint");
    assert!(site.module().ends_with("::points"));
    assert_eq!(site.file(), file!());
}

#[test]
fn the_catalogue_is_ordered_and_shows_duplicates() {
    fn first() {
        fail_point!("points_twice");
    }
    fn second() {
        fail_point!("points_twice");
    }
    first();
    second();
    let lines = lines_of("points_twice");
    assert_eq!(lines.len(), 2);
    assert!(lines[0] < lines[1]);
    assert!(catalogue().is_sorted_by_key(|site| (site.name().unwrap_or(""), site.file())));
}

#[test]
fn a_generic_function_has_one_site() {
    let faults = Scenario::new();
    let point = faults.arm("points_generic", "return");
    assert_eq!(generic::<u8>(), 0);
    assert_eq!(generic::<String>(), "");
    assert_eq!(point.hits(), 2);
    assert_eq!(lines_of("points_generic").len(), 1);
    faults.finish();
}

#[test]
fn the_first_pass_is_seen_without_arming() {
    fn pass() {
        fail_point!("points_first_pass");
    }
    let was_passed =
        || catalogue().iter().any(|s| s.name() == Some("points_first_pass") && s.was_passed());
    assert!(!was_passed());
    pass();
    assert!(was_passed());
    let name = faultpoint::coverage().get("points_first_pass").unwrap();
    assert!(name.is_measured && name.is_passed);
    assert_eq!((name.sites, name.hits, name.fires), (1, 0, 0));
}

fn three_forms(condition: bool) -> u32 {
    fail_point!("points_form_1");
    fail_point!("points_form_2", |argument| argument.map_or(2, |text| text.parse().unwrap()));
    fail_point!("points_form_3", condition, |_| 3);
    0
}

#[test]
fn the_three_forms_do_what_they_say() {
    assert_eq!(three_forms(true), 0);
    let faults = Scenario::new();
    faults.arm("points_form_3", "return");
    assert_eq!(three_forms(false), 0);
    assert_eq!(three_forms(true), 3);
    faults.arm("points_form_2", "1*return(1000)->return");
    assert_eq!(three_forms(true), 1000);
    assert_eq!(three_forms(true), 2);
    faults.arm("points_form_1", "off");
    assert_eq!(three_forms(true), 2);
    faults.finish();
    assert_eq!(three_forms(true), 0);
}

/// In a process of its own: other tests listen.
#[test]
fn a_condition_is_evaluated_only_while_armed() {
    let output = run_child("points::in_child_condition", "FAILPOINTS", "");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
#[ignore = "run by another test in a process of its own"]
fn in_child_condition() {
    static EVALUATED: AtomicU32 = AtomicU32::new(0);
    fn pass() -> bool {
        let is_evaluated = || EVALUATED.fetch_add(1, Ordering::Relaxed) == 0;
        fail_point!("points_condition", is_evaluated(), |_| true);
        false
    }
    // The first pass of the process goes past the gate.
    pass();
    let before = EVALUATED.load(Ordering::Relaxed);
    assert!(!pass());
    assert_eq!(EVALUATED.load(Ordering::Relaxed), before);
    let faults = Scenario::new();
    faults.arm("points_condition", "return").optional();
    pass();
    assert_eq!(EVALUATED.load(Ordering::Relaxed), before + 1);
}

#[test]
#[should_panic(expected = "failpoint points_panics panic")]
fn a_panic_names_the_point() {
    let faults = Scenario::new();
    faults.arm("points_panics", "panic");
    fail_point!("points_panics");
}

#[test]
fn a_panic_points_at_the_site() {
    let faults = Scenario::new();
    let armed = faults.arm("points_panic_place", "panic(no space left)");
    let scope = faults.scope();
    let place = std::sync::Arc::new(std::sync::Mutex::new(String::new()));
    // A callback on the same thread reads the place from the site itself.
    let seen = std::sync::Arc::clone(&place);
    faults.on("points_panic_place", move |hit| {
        *seen.lock().unwrap() = hit.site().to_string();
        Task::Panic(Some("no space left".to_owned()))
    });
    let line = line!() + 1;
    let result = scope.spawn(|| fail_point!("points_panic_place")).join();
    assert_eq!(*result.unwrap_err().downcast::<String>().unwrap(), "no space left");
    assert_eq!(*place.lock().unwrap(), format!("{}:{line}", file!()));
    assert_eq!(armed.hits(), 1);
    faults.finish();
}

fn io_site() -> io::Result<u32> {
    fault_point!("points_io")?;
    Ok(1)
}

#[test]
fn an_io_site_gives_the_errors_of_the_operating_system() {
    let faults = Scenario::new();
    faults.arm("points_io", "1*return(ENOSPC)->1*return(5)->1*return");
    let full = io_site().unwrap_err();
    assert_eq!(full.raw_os_error(), Some(28));
    assert_eq!(full.kind(), io::ErrorKind::StorageFull);
    assert_eq!(io_site().unwrap_err().raw_os_error(), Some(5));
    assert_eq!(io_site().unwrap_err().raw_os_error(), Some(5));
    assert_eq!(io_site().unwrap(), 1);
    faults.on("points_io", |_| Task::errno("EROFS"));
    assert_eq!(io_site().unwrap_err().kind(), io::ErrorKind::ReadOnlyFilesystem);
    faults.finish();
}

#[derive(Debug, PartialEq)]
enum Error {
    Corrupt { offset: u64 },
    NotLeader(String),
}

fn typed_site() -> Result<(), Error> {
    fault_point!("points_typed", |arg| match arg.text() {
        Some(_) => Error::Corrupt { offset: arg.parse() },
        None => arg.value().expect("an error from the callback"),
    })
}

#[test]
fn a_typed_site_gives_the_callers_error() {
    assert_eq!(typed_site(), Ok(()));
    let faults = Scenario::new();
    faults.arm("points_typed", "return(4096)");
    assert_eq!(typed_site(), Err(Error::Corrupt { offset: 4096 }));
    faults.on("points_typed", |hit| {
        faultpoint::Outcome::value(Error::NotLeader(format!("pass {}", hit.number())))
    });
    assert_eq!(typed_site(), Err(Error::NotLeader("pass 2".to_owned())));
    faults.finish();
}

fn value_site() -> usize {
    fault_value!("points_value", usize).unwrap_or(100)
}

#[test]
fn a_value_site_gives_what_was_armed() {
    let faults = Scenario::new();
    assert_eq!(value_site(), 100);
    faults.arm("points_value", "return(7)");
    assert_eq!(value_site(), 7);
    faults.on("points_value", |_| faultpoint::Outcome::value(8_usize));
    assert_eq!(value_site(), 8);
    faults.finish();
}

#[test]
#[should_panic(expected = "cannot take `return(many)`: `many` is not a `usize`")]
fn a_value_of_another_type_is_refused_when_armed() {
    Scenario::new().arm("points_value", "return(many)");
}

#[test]
#[should_panic(
    expected = "`ENOSPACE` is not an error number of this system; did you mean `ENOSPC`?"
)]
fn an_unknown_error_name_is_refused_when_armed() {
    Scenario::new().arm("points_io", "return(ENOSPACE)");
}

#[test]
#[should_panic(expected = "it cannot return early; give it a closure")]
fn a_return_that_no_site_can_do_is_refused_when_armed() {
    Scenario::new().arm("points_form_1", "2*off->return");
}

#[test]
fn a_callback_sees_and_changes_what_the_site_hands_over() {
    fn write(mut batch: Vec<u8>) -> io::Result<Vec<u8>> {
        fault_point!("points_data", with: &mut batch)?;
        Ok(batch)
    }
    let faults = Scenario::new();
    faults.on("points_data", |hit| {
        assert!(hit.data::<String>().is_none());
        let batch = hit.data::<Vec<u8>>().expect("the batch");
        batch.truncate(1);
        if batch.is_empty() { Task::errno("EINVAL") } else { Task::Off }
    });
    assert_eq!(write(vec![1, 2, 3]).unwrap(), [1]);
    assert_eq!(write(Vec::new()).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    faults.finish();
}

#[test]
fn a_site_in_a_closure_that_owns_what_it_returns_compiles() {
    fn send(message: String) -> Result<String, String> {
        fail_point!("points_move", move |_| Err(message));
        Err("not reached when armed".to_owned())
    }
    let faults = Scenario::new();
    faults.arm("points_move", "return");
    assert_eq!(send("kept".to_owned()), Err("kept".to_owned()));
    faults.finish();
}

/// Macros find what they need whatever the code around them calls its own.
mod shadowed {
    #![allow(non_snake_case, dead_code)]

    #[derive(Debug, PartialEq)]
    pub(super) struct Ok(pub(super) u32);
    struct Err;
    struct Some;
    struct None;
    struct Result;

    pub(super) fn every_form() -> Ok {
        let site = 1;
        faultpoint::fail_point!("points_shadowed");
        faultpoint::fail_point!("points_shadowed_return", |_| Ok(site));
        let failed = faultpoint::fault_point!("points_shadowed_io").is_err();
        let value = faultpoint::fault_value!("points_shadowed_value", u32).unwrap_or(site);
        Ok(value + u32::from(failed))
    }
}

#[test]
fn a_site_minds_its_own_names() {
    assert_eq!(shadowed::every_form(), shadowed::Ok(1));
    let faults = Scenario::new();
    faults.arm("points_shadowed_io", "return");
    faults.arm("points_shadowed_value", "return(5)");
    assert_eq!(shadowed::every_form(), shadowed::Ok(6));
    faults.arm("points_shadowed_return", "return");
    assert_eq!(shadowed::every_form(), shadowed::Ok(1));
    faults.finish();
}
