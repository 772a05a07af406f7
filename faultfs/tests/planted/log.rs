//! A small log engine with one planted bug at a time, and the check that finds it. It runs unchanged on
//! a `FaultFs` and, through the interposed door, on the plain standard library.

use std::io;

use faultfs::Profile;
use faultfs::oracle;
use faultfs::report::Report;
use faultfs::trace::Marks;
use faultfs::verdict::{Broken, Verdict};

/// What the engine asks of a filesystem.
pub(crate) trait Files {
    type File;
    fn create(&self, name: &str) -> io::Result<Self::File>;
    fn append(&self, file: &mut Self::File, bytes: &[u8]) -> io::Result<()>;
    fn sync(&self, file: &Self::File) -> io::Result<()>;
    /// `sync_file_range`: looks like a sync, and is none.
    fn start_writeback(&self, file: &Self::File) -> io::Result<()>;
    fn sync_dir(&self) -> io::Result<()>;
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    fn read(&self, name: &str) -> io::Result<Vec<u8>>;
}

/// What the engine does wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Bug {
    /// Nothing: the fixed twin.
    None,
    /// The directory is not synced after the log was created.
    NoDirSync,
    /// A compacted log gets its name before its content is durable.
    RenameBeforeSync,
    /// `sync_file_range` stands for `fsync`.
    WritebackForSync,
}

const LOG: &str = "log";

/// An append-only log of records: length, checksum, payload.
pub(crate) struct Log<F: Files> {
    files: F,
    file: F::File,
    ids: Vec<u64>,
    bug: Bug,
}

impl<F: Files> Log<F> {
    pub(crate) fn create(files: F, bug: Bug) -> io::Result<Self> {
        let file = files.create(LOG)?;
        files.sync(&file)?;
        if bug != Bug::NoDirSync {
            files.sync_dir()?;
        }
        Ok(Log { files, file, ids: Vec::new(), bug })
    }

    /// Writes a record; durable unless `Err`.
    pub(crate) fn put(&mut self, id: u64) -> io::Result<()> {
        self.put_unsynced(id)?;
        self.sync()
    }

    pub(crate) fn put_unsynced(&mut self, id: u64) -> io::Result<()> {
        self.files.append(&mut self.file, &record(id))?;
        self.ids.push(id);
        Ok(())
    }

    pub(crate) fn sync(&self) -> io::Result<()> {
        match self.bug {
            Bug::WritebackForSync => self.files.start_writeback(&self.file),
            _ => self.files.sync(&self.file),
        }
    }

    /// Writes the log anew and puts it in the place of the old one.
    pub(crate) fn compact(&mut self) -> io::Result<()> {
        let mut new = self.files.create("log.new")?;
        for id in &self.ids {
            self.files.append(&mut new, &record(*id))?;
        }
        if self.bug != Bug::RenameBeforeSync {
            self.files.sync(&new)?;
        }
        self.files.rename("log.new", LOG)?;
        self.files.sync_dir()?;
        self.file = new;
        Ok(())
    }
}

fn payload(id: u64) -> Vec<u8> {
    id.to_le_bytes().repeat(150)
}

fn record(id: u64) -> Vec<u8> {
    let payload = payload(id);
    let mut record = (payload.len() as u32).to_le_bytes().to_vec();
    record.extend(crc32fast::hash(&payload).to_le_bytes());
    record.extend(payload);
    record
}

/// The ids in a log; it ends at the first record that is not whole.
pub(crate) fn recover(files: &impl Files) -> io::Result<Vec<u64>> {
    let bytes = match files.read(LOG) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        bytes => bytes?,
    };
    let mut rest = &bytes[..];
    let mut ids = Vec::new();
    while let Some((header, tail)) = rest.split_at_checked(8) {
        let len = u32::from_le_bytes(header[..4].try_into().unwrap()) as usize;
        let crc = u32::from_le_bytes(header[4..].try_into().unwrap());
        let Some((payload, tail)) = tail.split_at_checked(len) else { break };
        if len < 8 || crc32fast::hash(payload) != crc {
            break;
        }
        ids.push(u64::from_le_bytes(payload[..8].try_into().unwrap()));
        rest = tail;
    }
    Ok(ids)
}

/// Every acknowledged record is there, none that was not asked for, and none before a lost one.
pub(crate) fn check(files: &impl Files, marks: &Marks) -> Result<(), Broken> {
    oracle::Log::of(|id| id).check(&recover(files)?, marks)
}

/// Under which profiles a bug loses data, and that the loss is named in the first of them. There are no
/// reports in a worker process that was started for another exploration of the test.
#[track_caller]
pub(crate) fn expect(reports: &[Report], losing: &[Profile], named: &str) {
    for report in reports {
        let expected = match losing.contains(&report.profile) {
            true => Verdict::Lost,
            false => Verdict::Held,
        };
        assert_eq!(report.verdict, expected, "{report}");
    }
    let Some(worst) = reports.first() else { return };
    let losses = worst.failures.first().into_iter().flat_map(|failure| &failure.losses);
    let first = losses.map(|loss| loss.to_string()).collect::<Vec<_>>().join("; ");
    assert!(first.contains(named), "expected {named:?} in:\n{worst}");
}

/// The profiles under which the power goes.
pub(crate) fn power_cuts() -> Vec<Profile> {
    Profile::ALL.into_iter().filter(|profile| !profile.process_only).collect()
}

/// Those under which a sync of a new file does not cover its entry, nor does the order of entries help.
pub(crate) const ENTRY_ON_ITS_OWN: [Profile; 2] = [Profile::POSIX, Profile::EXT4_FAST_COMMIT];

/// Those under which a rename may come before the content of its file: on ext3 and ext4 before what was added to
/// a page that had been written back.
pub(crate) const RENAME_FIRST: [Profile; 11] = [
    Profile::POSIX,
    Profile::EXT3_WRITEBACK,
    Profile::EXT3,
    Profile::EXT4_WRITEBACK,
    Profile::EXT4_NOAUTO_DA_ALLOC,
    Profile::EXT4,
    Profile::EXT4_FAST_COMMIT,
    Profile::EXT4_5_6,
    Profile::XFS,
    Profile::XFS_LOG_FORCE,
    Profile::BTRFS,
];
