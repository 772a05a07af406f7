//! One disk after a power cut that comes now, while the engine goes on: for stress tests that exist
//! already.

use std::sync::Arc;

use fastrand::Rng;

use super::build::build;
use super::sample;
use super::tape::{Choice, Tape, Token};
use super::window::Window;
use crate::disk::Disk;
use crate::explore::trace_id;
use crate::fs::FaultFs;
use crate::model::{Model, Profile};
use crate::trace::{Marks, Trace};

/// What a power cut does to the changes that no sync has covered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Loss {
    /// All of them arrive.
    Nothing,
    /// None of them arrives.
    Everything,
    /// A legal choice that this seed makes: each change is lost, torn or kept.
    Seeded(u64),
}

/// A disk after a power cut, the marks up to it, and the trace that led to it.
#[derive(Clone, Debug)]
pub struct CrashImage {
    /// The disk.
    pub disk: Disk,
    /// What had been asked for and promised when the power went.
    pub marks: Marks,
    /// The run up to the power cut: save it, and [`CrashImage::token`] can be replayed.
    pub trace: Arc<Trace>,
    /// Names the disk.
    pub token: Token,
}

impl CrashImage {
    /// The disk as a filesystem, on which to recover.
    pub fn fs(&self) -> FaultFs {
        FaultFs::from_disk(self.disk.clone())
    }

    /// Cuts the power at the end of `trace`, under `profile`.
    ///
    /// Costs time in proportion to the length of the trace.
    pub fn of(trace: Trace, profile: Profile, loss: Loss) -> CrashImage {
        let trace = Arc::new(trace);
        let model = Model::new(trace.clone(), profile);
        let mut moments = model.moments();
        while moments.next().is_some() {}
        let moment = moments.now();
        let tape = match loss {
            Loss::Nothing => Tape::default(),
            Loss::Everything if moment.window.is_empty() => Tape::default(),
            Loss::Everything => Tape(vec![Choice::LoseAll]),
            Loss::Seeded(seed) => {
                let mut window = Window::new(&model);
                window.follow(moment);
                sample::draw(&window, moment, &mut Rng::with_seed(seed)).tape()
            }
        };
        let disk = build(&model, moment, &tape).expect("a tape of this moment is legal");
        let (stamp, marks) = (moment.stamp, Marks::clone(&moment.marks));
        let token = Token { trace: trace_id(&trace), profile, stamp, tape };
        CrashImage { disk, marks, trace, token }
    }
}

/// The disks of runs that were killed at each crash point and lost nothing, with what they had said by then;
/// the first had not begun.
pub(crate) fn uncrashed(trace: Arc<Trace>) -> Vec<(Marks, Disk)> {
    let model = Model::new(trace.clone(), Profile::PROCESS_KILL);
    let mut out = vec![(Marks::default(), trace.base.clone())];
    let mut moments = model.moments();
    while let Some(moment) = moments.next() {
        let disk = build(&model, moment, &Tape::default()).expect("nothing lost is legal");
        out.push((Marks::clone(&moment.marks), disk));
    }
    out
}
