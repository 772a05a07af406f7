//! No checker at hand: what recovery gives back must be what it gives back of some run that did not crash.

use std::fmt::Debug;
use std::sync::Arc;

use crate::FaultFs;
use crate::crash::uncrashed;
use crate::trace::Marks;
use crate::verdict::Broken;

/// The oracle of an engine of which nothing is known: its content after a crash equals its content after a
/// prefix of the same run without a crash, one that had acknowledged all that the crashed run had.
///
/// What "content" is, the caller says: all keys, a checksum, the bytes of a file. It must not differ
/// from run to run. An engine that loses data without any crash is not found out.
///
/// ```
/// use faultfs::oracle::Uncrashed;
/// use faultfs::verdict::Broken;
/// use faultfs::FaultFs;
///
/// fn workload(fs: &FaultFs) -> Result<(), Broken> {
///     for id in 0..2 {
///         fs.begin(id);
///         fs.write("new", [id as u8; 5000])?;
///         fs.open("new")?.sync_all()?; // without it: corrupt
///         fs.rename("new", "file")?;
///         fs.sync_dir(".")?; // without it: lost
///         fs.ack(id);
///     }
///     Ok(())
/// }
/// let content = |fs: &FaultFs| Ok(fs.read("file").ok());
/// let mut uncrashed = Uncrashed::of(workload, content);
/// faultfs::explore(workload)
///     .named("replaced")
///     .in_process()
///     .check(|fs, marks| uncrashed.check(&content(fs)?, marks));
/// ```
#[derive(Debug)]
pub struct Uncrashed<T, F> {
    runs: F,
    known: Option<Vec<(Marks, T)>>,
}

/// Makes the contents of the runs that did not crash.
type Runs<T> = Box<dyn FnMut() -> Result<Vec<(Marks, T)>, Broken>>;

impl<T: PartialEq + Debug + 'static> Uncrashed<T, Runs<T>> {
    /// The oracle of what `workload` does on a [`FaultFs`]. On first use it runs the workload once more,
    /// kills it after every op, and keeps what `content` makes of each.
    pub fn of(
        workload: impl Fn(&FaultFs) -> Result<(), Broken> + 'static,
        content: impl Fn(&FaultFs) -> Result<T, Broken> + 'static,
    ) -> Self {
        Uncrashed::runs(Box::new(move || {
            let fs = FaultFs::mem();
            workload(&fs)?;
            let kept = uncrashed(Arc::new(fs.trace()));
            let runs = kept
                .into_iter()
                .map(|(marks, disk)| Ok((marks, content(&FaultFs::from_disk(disk))?)));
            // One that cannot be opened is no content: it was cut off in the middle of its creation.
            Ok(runs.filter_map(|run: Result<_, Broken>| run.ok()).collect())
        }))
    }
}

impl<T: PartialEq + Debug, F: FnMut() -> Result<Vec<(Marks, T)>, Broken>> Uncrashed<T, F> {
    /// The oracle of runs that `runs` makes, in any way and through any door: the content of a run that
    /// ended before its first op, of one that ended before its second, and so on, each with its marks.
    pub fn runs(runs: F) -> Self {
        Uncrashed { runs, known: None }
    }

    /// Compares the content after recovery with that of runs that did not crash.
    ///
    /// # Errors
    ///
    /// Lost where it is that of a run which had acknowledged less; corrupt where it is that of none; that of
    /// `runs`, where it fails.
    pub fn check(&mut self, recovered: &T, marks: &Marks) -> Result<(), Broken> {
        let known = match &mut self.known {
            Some(known) => known,
            none => none.insert((self.runs)()?),
        };
        let alike = known
            .iter()
            .filter(|(run, content)| content == recovered && run.issued.is_subset(&marks.issued));
        let alike: Vec<&Marks> = alike.map(|(run, _)| run).collect();
        let whole = alike.iter().any(|run| marks.acked.is_subset(&run.acked));
        match alike.last() {
            Some(_) if whole => Ok(()),
            Some(run) => {
                let gone: Vec<u64> = marks.acked.difference(&run.acked).copied().collect();
                let gone = format!("{gone:?} acknowledged, the content is that without them");
                Err(Broken::lost(gone))
            }
            None => {
                let what: String = format!("{recovered:?}").chars().take(60).collect();
                Err(Broken::corrupt(format!("no run without a crash has this content: {what}")))
            }
        }
    }
}
