//! Every site in the binary by name, collected by the linker, and which scopes have armed which
//! name: the one place that opens and closes gates.

use std::collections::BTreeMap;
use std::ptr;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use crate::action::{Actions, Task};
use crate::error::Error;
use crate::site::{self, Site};
use crate::suggest::closest;

/// Whether the linker collects the sites. Elsewhere (WebAssembly, Miri) a site is known from its
/// first pass on.
pub(crate) const IS_LINKED: bool =
    cfg!(all(feature = "failpoints", not(any(miri, target_family = "wasm"))));

/// Filled by the linker with one entry for each site.
#[cfg(all(feature = "failpoints", not(any(miri, target_family = "wasm"))))]
#[doc(hidden)]
#[linkme::distributed_slice]
pub static SITES: [&'static Site];

#[cfg(not(all(feature = "failpoints", not(any(miri, target_family = "wasm")))))]
static SITES: [&Site; 0] = [];

/// Every fail point site in this program, never-called ones included, ordered by name, file and
/// line. A name may stand at several sites.
///
/// Empty when the `failpoints` feature is off. Sites in a dependency that nothing refers to are
/// not in the program, so not here. On WebAssembly and under Miri, where the linker does not
/// collect them, sites appear as they are first passed.
pub fn catalogue() -> Vec<&'static Site> {
    let table = table();
    let mut sites: Vec<&'static Site> =
        table.named.values().flatten().chain(&table.computed).copied().collect();
    sites.sort_by_key(|site| site::sort_key(site));
    sites
}

/// That a point called `name` may be passed in this program: for tools that wait for a pass.
///
/// # Errors
///
/// When no site has that name, with the nearest one; when the `failpoints` feature is off. With the
/// feature `foreign` any name may be one of the `fail` crate's, which does not list them.
pub fn check_point(name: &str) -> Result<(), Error> {
    if cfg!(feature = "foreign") { Ok(()) } else { check_name(name) }
}

/// Sites with this name.
pub(crate) fn sites_of(name: &str) -> Vec<&'static Site> {
    table().named.get(name).cloned().unwrap_or_default()
}

pub(crate) fn names() -> Vec<&'static str> {
    table().named.keys().copied().collect()
}

/// That there is a site called `name`, or one that may turn out to be; else an error that
/// suggests the nearest name.
pub(crate) fn check_name(name: &str) -> Result<(), Error> {
    if !cfg!(feature = "failpoints") {
        return Err(Error::new(COMPILED_OUT));
    }
    let table = table();
    if table.named.contains_key(name) || !table.computed.is_empty() || !IS_LINKED {
        return Ok(());
    }
    let mend = match closest(name, table.named.keys().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None if table.named.is_empty() => {
            "is the crate under test referred to, and its feature for fail points on?".to_owned()
        }
        None => format!(
            "`faultpoint::catalogue()` lists the {} names there are; a point of a crate that uses \
             the `fail` crate is armed with `arm_foreign`",
            table.named.len()
        ),
    };
    Err(Error::new(format!("there is no fail point `{name}`; {mend}")))
}

/// That at least one site called `name` can do what `actions` say.
pub(crate) fn check_actions(name: &str, actions: &Actions) -> Result<(), Error> {
    let sites = sites_of(name);
    for action in actions.as_slice() {
        let Task::Return(argument) = &action.task else { continue };
        let verdicts: Vec<_> =
            sites.iter().map(|site| (site, site.accepts(argument.as_deref()))).collect();
        if verdicts.iter().any(|(_, verdict)| verdict.is_ok()) {
            continue;
        }
        if let Some((site, Err(reason))) = verdicts.first() {
            return Err(Error::new(format!(
                "fail point `{name}` at {site} cannot take `{}`: {reason}",
                action.task
            )));
        }
    }
    Ok(())
}

/// Opens the gates of `name` for the scopes whose bit is `bit`.
pub(crate) fn add_interest(name: &str, bit: u64) {
    let mut table = table();
    table.interested.entry(name.to_owned()).or_default().push(bit);
    table.set_gates(name);
}

/// Takes back one [`add_interest`] of the same name and bit.
pub(crate) fn remove_interest(name: &str, bit: u64) {
    let mut table = table();
    let Some(bits) = table.interested.get_mut(name) else { return };
    if let Some(index) = bits.iter().position(|b| *b == bit) {
        bits.swap_remove(index);
    }
    if bits.is_empty() {
        table.interested.remove(name);
    }
    table.set_gates(name);
}

/// Opens the gates of all sites because somebody listens, or closes those that nobody else holds open.
pub(crate) fn set_heard(is_heard: bool) {
    let mut table = table();
    table.is_heard = is_heard;
    let names: Vec<&str> = table.named.keys().copied().collect();
    names.into_iter().for_each(|name| table.set_named_gates(name));
    table.set_computed_gates();
}

/// Makes a site known at its first pass, where the linker does not. Threads that pass it at once may all
/// come here.
pub(crate) fn register(site: &'static Site) {
    let mut table = table();
    let known = match site.name() {
        Some(name) => table.named.get(name).is_some_and(|sites| has(sites, site)),
        None => has(&table.computed, site),
    };
    if !known {
        table.insert(site);
    }
    match site.name() {
        Some(name) => table.set_named_gates(name),
        None => table.set_computed_gates(),
    }
}

fn has(sites: &[&Site], site: &Site) -> bool {
    sites.iter().any(|known| ptr::eq(*known, site))
}

pub(crate) const COMPILED_OUT: &str = "fail points are compiled out of this program; turn on the \
     `failpoints` feature of `faultpoint`, for example with \
     `cargo test --features faultpoint/failpoints`";

#[derive(Default)]
struct Table {
    named: BTreeMap<&'static str, Vec<&'static Site>>,
    /// Sites that compute their name: any armed name may be theirs.
    computed: Vec<&'static Site>,
    /// Gate bits by name, one entry for each scope that has armed it.
    interested: BTreeMap<String, Vec<u64>>,
    /// Somebody listens to all passes.
    is_heard: bool,
}

impl Table {
    fn insert(&mut self, site: &'static Site) {
        match site.name() {
            Some(name) => self.named.entry(name).or_default().push(site),
            None => self.computed.push(site),
        }
    }

    fn set_gates(&self, name: &str) {
        self.set_named_gates(name);
        self.set_computed_gates();
    }

    fn set_named_gates(&self, name: &str) {
        let bits = self.interested.get(name).into_iter().flatten();
        let bits = bits.fold(self.heard(), |all, bit| all | bit);
        for site in self.named.get(name).into_iter().flatten() {
            site.set_gate(bits);
        }
    }

    fn heard(&self) -> u64 {
        if self.is_heard { site::HEARD } else { 0 }
    }

    fn set_computed_gates(&self) {
        if self.computed.is_empty() {
            return;
        }
        let bits = self.interested.values().flatten().fold(self.heard(), |all, bit| all | bit);
        for site in &self.computed {
            site.set_gate(bits);
        }
    }
}

fn table() -> MutexGuard<'static, Table> {
    static TABLE: LazyLock<Mutex<Table>> = LazyLock::new(|| {
        let mut table = Table::default();
        for site in SITES {
            table.insert(site);
        }
        Mutex::new(table)
    });
    TABLE.lock().unwrap_or_else(PoisonError::into_inner)
}
