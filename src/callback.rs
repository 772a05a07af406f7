//! Callbacks at a point: what they see, and how they decide.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use crate::action::Task;
use crate::limits::Limits;
use crate::site::Site;

pub(crate) type Callback = Arc<dyn Fn(&mut Hit<'_>) -> Outcome + Send + Sync>;

/// One pass of a thread through an armed point, as a callback sees it.
pub struct Hit<'a> {
    pub(crate) name: &'a str,
    pub(crate) number: u64,
    pub(crate) site: &'static Site,
    pub(crate) data: Option<&'a mut dyn Any>,
    pub(crate) limits: &'a Limits,
}

/// What a callback decides: a [`Task`], a value for the site, or `()` to let the pass go by.
pub struct Outcome(pub(crate) Decision);

pub(crate) enum Decision {
    Task(Task),
    Value(Box<dyn Any + Send>),
}

impl Hit<'_> {
    /// The point's name.
    pub fn name(&self) -> &str {
        self.name
    }

    /// Which pass this is at this point in this scope, counted from 1.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Where in the code the thread is.
    pub fn site(&self) -> &'static Site {
        self.site
    }

    /// Calls `act` once, when the scenario ends, or before that when its test panics: before anything is
    /// dropped. For a callback that holds something up, so that nobody waits for it for ever.
    pub fn at_end(&self, act: impl FnOnce() + Send + 'static) {
        self.limits.at_end(Box::new(act));
    }

    /// What the site handed over with `with: &mut data`, if it is a `T`.
    pub fn data<T: Any>(&mut self) -> Option<&mut T> {
        self.data.as_deref_mut()?.downcast_mut()
    }
}

impl Outcome {
    /// An early return with this value: for [`fault_value!`](crate::fault_value) a value of its
    /// type, for `fault_point!("name")` an [`std::io::Error`], and for a site with a closure
    /// whatever its closure [takes](crate::Arg::value).
    pub fn value<T: Any + Send>(value: T) -> Outcome {
        Outcome(Decision::Value(Box::new(value)))
    }
}

impl From<()> for Outcome {
    fn from((): ()) -> Outcome {
        Outcome(Decision::Task(Task::Off))
    }
}

impl From<Task> for Outcome {
    fn from(task: Task) -> Outcome {
        Outcome(Decision::Task(task))
    }
}

impl fmt::Debug for Hit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hit")
            .field("name", &self.name)
            .field("number", &self.number)
            .field("site", &format_args!("{}", self.site))
            .field("has_data", &self.data.is_some())
            .finish()
    }
}

impl fmt::Debug for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Decision::Task(task) => write!(f, "Outcome({task})"),
            Decision::Value(_) => f.write_str("Outcome(value)"),
        }
    }
}
