//! A place in the code, and the gate in front of it.
//!
//! The gate is one word of bits: who wants to know about a pass. Zero, the idle case, costs a
//! relaxed load and a branch, whatever is armed at other points. Anything else goes to a cold
//! function, which first asks whether this thread is in one of those scopes.

use std::any::Any;
use std::cell::Cell;
use std::fmt;
use std::mem::ManuallyDrop;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::arg::Arg;
use crate::{catalogue, errno, passes, scope};

/// Not passed since the process began. Set in every gate at first, so that the first pass of each
/// site is seen at no cost to the later ones.
pub(crate) const NEW: u64 = 1;
/// The whole process: `FAILPOINTS`, [`cfg()`](crate::cfg()), live control.
pub(crate) const GLOBAL: u64 = 2;
/// Somebody [listens](crate::listen) to all passes.
pub(crate) const HEARD: u64 = 4;
/// What concerns every thread.
pub(crate) const EVERYBODY: u64 = NEW | GLOBAL | HEARD;

/// The gate bit of scope number `id`. Scopes 61 apart share one; that costs those scopes' passes a
/// look into a table, and decides nothing.
pub(crate) const fn scope_bit(id: u64) -> u64 {
    1 << (3 + id % 61)
}

/// One place in the code that is a fail point.
///
/// Made by the macros, in a `static` of its own, and listed by
/// [`catalogue()`](crate::catalogue()).
pub struct Site {
    gate: AtomicU64,
    hits: AtomicU64,
    fires: AtomicU64,
    /// `None` when the name is computed at run time.
    name: Option<&'static str>,
    form: Form,
    package: &'static str,
    module: &'static str,
    file: &'static str,
    line: u32,
    column: u32,
}

/// What a site can do with an early return.
#[doc(hidden)]
#[derive(Clone, Copy)]
pub struct Form {
    /// How the site looks in the source.
    shape: &'static str,
    /// Whether the site can make something of this argument of `return`, or why not.
    accepts: fn(Option<&str>) -> Result<(), String>,
}

impl Form {
    /// `fail_point!("name")`: cannot return.
    pub const PASS: Form = Form {
        shape: "fail_point!(name)",
        accepts: |_| {
            Err("it cannot return early; give it a closure, as in `fail_point!(name, |_| …)`"
                .to_owned())
        },
    };
    /// `fail_point!("name", |argument| value)`: any argument goes to the closure.
    pub const RETURN: Form = Form { shape: "fail_point!(name, |arg| …)", accepts: |_| Ok(()) };
    /// `fault_point!("name")`: an error number of the operating system.
    pub const IO: Form = Form {
        shape: "fault_point!(name)",
        accepts: |text| text.map_or(Ok(()), |text| errno::parse(text).map(drop)),
    };
    /// `fault_point!("name", |argument| error)`.
    pub const ERROR: Form = Form { shape: "fault_point!(name, |arg| …)", accepts: |_| Ok(()) };

    /// A site of the `fail` crate.
    #[cfg(feature = "foreign")]
    pub(crate) const FOREIGN: Form = Form {
        shape: "fail::fail_point!(…)",
        accepts: |_| Err("it is a site of the `fail` crate".to_owned()),
    };

    /// `fault_value!("name", T)`: whatever parses as a `T`.
    pub const fn value<T>() -> Form
    where
        T: std::str::FromStr,
        T::Err: fmt::Display,
    {
        Form {
            shape: "fault_value!(name, …)",
            accepts: |text| {
                let kind = std::any::type_name::<T>();
                let text = text.ok_or_else(|| format!("it needs a `{kind}`: `return(value)`"))?;
                text.parse::<T>().map(drop).map_err(|e| format!("`{text}` is not a `{kind}`: {e}"))
            },
        }
    }
}

impl Site {
    #[doc(hidden)]
    pub const fn new(
        name: Option<&'static str>,
        form: Form,
        package: &'static str,
        module: &'static str,
        position: (&'static str, u32, u32),
    ) -> Site {
        Site {
            gate: AtomicU64::new(NEW),
            hits: AtomicU64::new(0),
            fires: AtomicU64::new(0),
            name,
            form,
            package,
            module,
            file: position.0,
            line: position.1,
            column: position.2,
        }
    }

    /// The point's name; `None` where it is computed at run time.
    pub fn name(&self) -> Option<&'static str> {
        self.name
    }

    /// The package that the site was compiled in.
    pub fn package(&self) -> &'static str {
        self.package
    }

    /// The module, from the crate's root.
    pub fn module(&self) -> &'static str {
        self.module
    }

    /// The source file, as the compiler names it.
    pub fn file(&self) -> &'static str {
        self.file
    }

    /// Counted from 1.
    pub fn line(&self) -> u32 {
        self.line
    }

    /// Whether any thread has come by since the process began, armed or not.
    pub fn was_passed(&self) -> bool {
        self.gate.load(Ordering::Relaxed) & NEW == 0
    }

    /// Passes while the point was armed in a scope of the passing thread. Passes of an idle site
    /// are not counted: that would cost each of them.
    pub fn hits(&self) -> u64 {
        self.hits.load(Ordering::Relaxed)
    }

    /// Passes at which something other than `off` was done.
    pub fn fires(&self) -> u64 {
        self.fires.load(Ordering::Relaxed)
    }

    /// Whether this pass concerns anybody. The idle path is the load and branch in here.
    ///
    /// Gates are relaxed: who must see an arming (the thread that armed, threads started or sent
    /// the scope's handle later) is ordered after it by other means.
    #[doc(hidden)]
    #[inline(always)]
    pub fn is_open(&self) -> bool {
        let gate = self.gate.load(Ordering::Relaxed);
        gate != 0 && concerns_this_thread(gate)
    }

    pub(crate) fn set_gate(&self, interested: u64) {
        let keep_new = |gate: u64| Some(gate & NEW | interested);
        let result = self.gate.fetch_update(Ordering::Relaxed, Ordering::Relaxed, keep_new);
        debug_assert!(result.is_ok());
    }

    pub(crate) fn accepts(&self, argument: Option<&str>) -> Result<(), String> {
        (self.form.accepts)(argument)
    }

    pub(crate) fn count_hit(&self) {
        self.hits.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_fire(&self) {
        self.fires.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes the pass where anybody wants to know, and gives the point's name.
    #[inline]
    fn note_pass<'a>(&'static self, computed: Option<&'a str>) -> Option<&'a str> {
        let gate = self.gate.load(Ordering::Relaxed);
        let name = self.name.or(computed);
        if gate & (NEW | HEARD) != 0 {
            self.note_unusual(gate, name);
        }
        name
    }

    #[cold]
    fn note_unusual(&'static self, gate: u64, name: Option<&str>) {
        if gate & NEW != 0 {
            self.note_first_pass();
        }
        if let Some(name) = name
            && gate & HEARD != 0
        {
            passes::tell(name, self);
        }
    }

    fn note_first_pass(&'static self) {
        if !catalogue::IS_LINKED {
            // The gate is not closed to anybody before it is opened for those who have armed the name.
            catalogue::register(self);
        }
        self.gate.fetch_and(!NEW, Ordering::Relaxed);
    }
}

/// `file:line`, which editors and terminals make clickable.
impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

impl fmt::Debug for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Site")
            .field("name", &self.name)
            .field("shape", &self.form.shape)
            .field("package", &self.package)
            .field("file", &self.file)
            .field("line", &self.line)
            .field("column", &self.column)
            .field("was_passed", &self.was_passed())
            .field("hits", &self.hits())
            .field("fires", &self.fires())
            .finish_non_exhaustive()
    }
}

/// The order of the catalogue.
pub(crate) fn sort_key(site: &Site) -> (&str, &str, u32, u32) {
    (site.name.unwrap_or(""), site.file, site.line, site.column)
}

/// Whether a scope of this thread is one of the gate's, or the pass is the site's first. A
/// function of its own, and called with a number, so that a pass that concerns other scopes only
/// costs its surroundings little.
#[cold]
#[inline(never)]
fn concerns_this_thread(gate: u64) -> bool {
    gate & scope::mask() != 0
}

/// The path past an open gate, of a site whose name is fixed: whether it is to return early, with
/// what is then [`taken`].
#[doc(hidden)]
#[cold]
#[inline(never)]
pub fn pass(site: &'static Site) -> bool {
    pass_armed(site, None, None)
}

/// The same, with a value that a callback may look at and change.
#[doc(hidden)]
#[cold]
#[inline(never)]
pub fn pass_with(site: &'static Site, data: &mut dyn Any) -> bool {
    pass_armed(site, None, Some(data))
}

/// The same, of a site whose name is computed at run time.
#[doc(hidden)]
#[cold]
#[inline(never)]
pub fn pass_named(site: &'static Site, name: &str) -> bool {
    pass_armed(site, Some(name), None)
}

/// The same, of a task, which waits without holding up its thread; gives the argument itself.
#[doc(hidden)]
pub async fn pass_async(site: &'static Site) -> Option<Arg> {
    scope::armed_here(site.note_pass(None)?)?.pass_async(site).await
}

thread_local! {
    /// On its way from [`pass`] to [`taken`], the very next thing that its thread does. Not in the
    /// result of `pass`, so that the frame of the function around an idle site stays small.
    static RETURNED: Cell<Option<ManuallyDrop<Arg>>> = const { Cell::new(None) };
}

#[inline(always)]
fn pass_armed(site: &'static Site, computed: Option<&str>, data: Option<&mut dyn Any>) -> bool {
    let Some(point) = site.note_pass(computed).and_then(scope::armed_here) else { return false };
    let Some(arg) = point.pass(site, data) else { return false };
    RETURNED.set(Some(ManuallyDrop::new(arg)));
    true
}

/// The argument of the early return that [`pass`] has just asked for.
#[inline(always)]
pub(crate) fn taken() -> Arg {
    let arg = RETURNED.take().expect("a site takes what a pass has left");
    ManuallyDrop::into_inner(arg)
}
