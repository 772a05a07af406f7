//! Points of dependencies that use the `fail` crate.
//!
//! `fail` lets one function be called at a point, for the whole process, on the thread that comes
//! by: that is where scopes, counts, waits and everything but an early return come from. An early
//! return it makes only by itself, for the whole process, uncounted.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::action::{Actions, Task};
use crate::error::Error;
use crate::point::Script;
use crate::site::{Form, Site};
use crate::{passes, scope};

/// Brings passes of `name` to the scopes that armed it, until [`unhook`].
pub(crate) fn hook(name: &str) -> Result<(), Error> {
    let mut table = table();
    let foreign = table.entry(name.to_owned()).or_insert_with(|| Foreign::new(name));
    if let Some(Process::Fail(actions)) = &foreign.process {
        return Err(Error::new(format!(
            "fail point `{name}` returns early for the whole process (`{actions}`), so no scope \
             sees its passes; remove that first"
        )));
    }
    foreign.scopes += 1;
    foreign.apply(name)
}

/// Takes back one [`hook`].
pub(crate) fn unhook(name: &str) {
    if let Some(foreign) = table().get_mut(name) {
        foreign.scopes -= 1;
        let applied = foreign.apply(name);
        debug_assert!(applied.is_ok(), "taking away is always possible");
    }
}

/// Arms `name` for the whole process, or disarms it.
pub(crate) fn set_process(name: &str, script: Option<&Script>) -> Result<(), Error> {
    let mut table = table();
    let foreign = table.entry(name.to_owned()).or_insert_with(|| Foreign::new(name));
    let process = match script {
        None => None,
        Some(Script::Actions(actions)) if can_return(actions) => {
            if foreign.scopes > 0 {
                return Err(Error::new(format!(
                    "fail point `{name}` is armed in a scenario, and the `fail` crate can either \
                     tell of a pass or return early; end that scenario first"
                )));
            }
            Some(Process::Fail(actions.to_string()))
        }
        Some(_) => Some(Process::Scope),
    };
    let before = std::mem::replace(&mut foreign.process, process);
    let applied = foreign.apply(name);
    if applied.is_err() {
        foreign.process = before;
    }
    applied
}

/// That `actions` can be done at a foreign point for some threads and not for others.
pub(crate) fn check_scoped(name: &str, actions: &Actions) -> Result<(), Error> {
    if !can_return(actions) {
        return Ok(());
    }
    Err(Error::new(format!(
        "fail point `{name}` is the `fail` crate's, whose early returns hold for the whole \
         process, not for one scenario; arm it with `faultpoint::FailGuard::new({name:?}, \
         \"{actions}\")`"
    )))
}

/// One name in the `fail` crate's registry.
struct Foreign {
    site: &'static Site,
    /// How many scopes have armed it.
    scopes: u32,
    /// What the whole process has armed.
    process: Option<Process>,
    /// What was last asked of `fail`.
    applied: Applied,
}

enum Process {
    /// Passes come to the process's scope.
    Scope,
    /// `fail` acts on this text by itself.
    Fail(String),
}

#[derive(Clone, PartialEq, Eq)]
enum Applied {
    Nothing,
    Callback,
    Text(String),
}

impl Foreign {
    /// The site is never freed: there is one for each name ever armed.
    fn new(name: &str) -> Foreign {
        let name: &'static str = Box::leak(name.into());
        let place = ("a crate that uses `fail`", 0, 0);
        let site = Site::new(Some(name), Form::FOREIGN, "fail", "fail", place);
        let site = Box::leak(Box::new(site));
        Foreign { site, scopes: 0, process: None, applied: Applied::Nothing }
    }

    /// Makes `fail` do what is asked for now.
    fn apply(&mut self, name: &str) -> Result<(), Error> {
        let wanted = match &self.process {
            Some(Process::Fail(text)) => Applied::Text(text.clone()),
            Some(Process::Scope) => Applied::Callback,
            None if self.scopes > 0 => Applied::Callback,
            None => Applied::Nothing,
        };
        if wanted == self.applied {
            return Ok(());
        }
        let site = self.site;
        let asked = match &wanted {
            Applied::Nothing => {
                fail::remove(name);
                Ok(())
            }
            Applied::Callback => fail::cfg_callback(name, move || pass(site)),
            Applied::Text(text) => fail::cfg(name, text),
        };
        asked.map_err(|error| {
            Error::new(format!("fail point `{name}`: the `fail` crate refuses: {error}"))
        })?;
        self.applied = wanted;
        Ok(())
    }
}

fn table() -> MutexGuard<'static, BTreeMap<String, Foreign>> {
    static TABLE: Mutex<BTreeMap<String, Foreign>> = Mutex::new(BTreeMap::new());
    TABLE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `fail` calls this on the thread that comes by.
fn pass(site: &'static Site) {
    let Some(name) = site.name() else { return };
    passes::tell(name, site);
    let Some(point) = scope::armed_here(name) else { return };
    if point.pass(site, None).is_some() {
        point.report_no_return();
    }
}

fn can_return(actions: &Actions) -> bool {
    actions.as_slice().iter().any(|action| matches!(action.task, Task::Return(_)))
}
