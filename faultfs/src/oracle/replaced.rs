//! One value that is replaced as a whole, such as a configuration file.

use std::fmt::Debug;

use super::{promised, sound};
use crate::trace::Marks;
use crate::verdict::Broken;

/// The oracle of a value that each op replaces: recovered is one version, whole, and not older than the
/// last one that was acknowledged. No value may be there only before the first acknowledgement.
///
/// ```
/// use faultfs::oracle::Replaced;
///
/// faultfs::explore(|fs| {
///     for id in 0..2 {
///         fs.begin(id);
///         fs.write("new", [id as u8; 5000])?;
///         fs.open("new")?.sync_all()?; // without it: corrupt, a file of no version
///         fs.rename("new", "file")?;
///         fs.sync_dir(".")?; // without it: lost, an old version
///         fs.ack(id);
///     }
///     Ok(())
/// })
/// .named("replaced")
/// .in_process()
/// .check(|fs, marks| Replaced::of(|id| vec![id as u8; 5000]).check(fs.read("file").ok(), marks));
/// ```
#[derive(Clone, Debug)]
pub struct Replaced<F> {
    version: F,
}

impl<T: PartialEq + Debug, F: Fn(u64) -> T> Replaced<F> {
    /// The oracle of a value of which the op `id` makes `version(id)`.
    pub fn of(version: F) -> Self {
        Replaced { version }
    }

    /// Compares the value that recovery found, `None` where there is none, with the marks of the crash.
    ///
    /// # Errors
    ///
    /// Lost where it is an older version than was acknowledged, or none; corrupt where it is no version.
    pub fn check(&self, recovered: Option<T>, marks: &Marks) -> Result<(), Broken> {
        let ids = sound(marks);
        let needed = promised(&ids, marks).checked_sub(1).map(|last| ids[last]);
        let Some(found) = recovered else {
            return match needed {
                None => Ok(()),
                Some(id) => Err(Broken::lost(format!("{id} was acknowledged, there is no value"))),
            };
        };
        let versions = marks.issued.iter().rev();
        let Some(version) = versions.copied().find(|id| (self.version)(*id) == found) else {
            let what: String = format!("{found:?}").chars().take(60).collect();
            return Err(Broken::corrupt(format!("a value of no version: {what}")));
        };
        match needed {
            Some(id) if version < id => {
                Err(Broken::lost(format!("{id} was acknowledged, the value is that of {version}")))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::Mark;

    #[test]
    fn a_version_that_is_not_older_than_promised_holds_and_nothing_else() {
        let mut marks = Marks::default();
        assert!(Replaced::of(|id| id * 10).check(None, &marks).is_ok());
        [Mark::Ack(1), Mark::Ack(2), Mark::Begin(3)].iter().for_each(|mark| marks.add(*mark));
        let said = |found: Option<u64>| match Replaced::of(|id| id * 10).check(found, &marks) {
            Ok(()) => "held".to_string(),
            Err(broken) => broken.to_string(),
        };
        assert_eq!(said(Some(20)), "held");
        assert_eq!(said(Some(30)), "held");
        assert_eq!(said(Some(10)), "lost: 2 was acknowledged, the value is that of 1");
        assert_eq!(said(Some(25)), "corrupt: a value of no version: 25");
        assert_eq!(said(None), "lost: 2 was acknowledged, there is no value");
    }
}
