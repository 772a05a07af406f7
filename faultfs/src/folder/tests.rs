//! Tests of both ways.

use proptest::prelude::*;

use std::ffi::OsStr;
use std::fs::{self, OpenOptions, Permissions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;

use super::{Folder, Stash, TIME_SECONDS, difference, snapshot};
use crate::disk::Disk;
use crate::op::{Bytes, Op};
use crate::op::{Ino, Kind, Name, Slot};
use crate::session::Session;
use crate::verdict::Verdict;

/// One step of building a disk; whatever it cannot do on the disk at hand it leaves out.
#[derive(Clone, Debug)]
enum Step {
    File(u8),
    Dir(u8),
    Symlink(u8),
    Link(u8, u8),
    Unlink(u8),
    Move(u8, u8),
    Write(u8, u16, u8, u16),
    SetLen(u8, u16),
    Mode(u8, u32),
}

/// Names `a/b`: `a` in the root or, where that is a directory, `b` in it.
fn slot(disk: &Disk, number: u8) -> Slot {
    let top = Slot::new(Ino::ROOT, format!("n{}", number % 5));
    let dir = disk.lookup(&top).filter(|&ino| disk.entries(ino).is_some());
    match dir {
        Some(dir) if number >= 128 => Slot::new(dir, format!("m{}", number % 3)),
        _ => top,
    }
}

fn apply(disk: &mut Disk, step: &Step) {
    let at = |disk: &Disk, number: u8| (slot(disk, number), disk.lookup(&slot(disk, number)));
    let is_dir = |disk: &Disk, ino: Ino| disk.entries(ino).is_some();
    let op = match *step {
        Step::File(n) | Step::Dir(n) | Step::Symlink(n) => {
            let (slot, None) = at(disk, n) else { return };
            let kind = match step {
                Step::File(_) => Kind::File,
                Step::Dir(_) => Kind::Dir,
                _ => Kind::Symlink(Name::new(format!("../t{n}"))),
            };
            let mode = if matches!(kind, Kind::Symlink(_)) { 0o777 } else { 0o644 };
            Op::Create { slot, ino: disk.fresh_ino(), kind, mode }
        }
        Step::Link(from, to) => match (at(disk, from), at(disk, to)) {
            ((_, Some(ino)), (slot, None)) if disk.content(ino).is_some() => Op::Link { ino, slot },
            _ => return,
        },
        Step::Unlink(n) => match at(disk, n) {
            (slot, Some(_)) => Op::Unlink { slot },
            _ => return,
        },
        Step::Move(from, to) => match (at(disk, from), at(disk, to)) {
            ((from, Some(ino)), (to, None)) if !is_dir(disk, ino) => {
                Op::Rename { from, to, exchange: false }
            }
            _ => return,
        },
        Step::Write(n, offset, byte, len) => match at(disk, n).1 {
            Some(ino) if disk.content(ino).is_some() => {
                let data = Bytes::new(&vec![byte; len as usize % 9000]);
                let offset = u64::from(offset);
                Op::Write { ino, offset, data, direct: false, sync: None }
            }
            _ => return,
        },
        Step::SetLen(n, len) => match at(disk, n).1 {
            Some(ino) if disk.content(ino).is_some() => {
                Op::SetLen { ino, len: u64::from(len) * 16 }
            }
            _ => return,
        },
        Step::Mode(n, mode) => match at(disk, n).1 {
            Some(ino) if disk.content(ino).is_some() || is_dir(disk, ino) => {
                Op::SetMode { ino, mode: mode & 0o777 | 0o600 }
            }
            _ => return,
        },
    };
    disk.apply(&op);
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let n = any::<u8>;
    let step = prop_oneof![
        3 => n().prop_map(Step::File),
        1 => n().prop_map(Step::Dir),
        1 => n().prop_map(Step::Symlink),
        2 => (n(), n()).prop_map(|(a, b)| Step::Link(a, b)),
        1 => n().prop_map(Step::Unlink),
        1 => (n(), n()).prop_map(|(a, b)| Step::Move(a, b)),
        4 => (n(), any::<u16>(), n(), any::<u16>())
            .prop_map(|(a, b, c, d)| Step::Write(a, b, c, d)),
        1 => (n(), any::<u16>()).prop_map(|(a, b)| Step::SetLen(a, b)),
        1 => (n(), any::<u32>()).prop_map(|(a, b)| Step::Mode(a, b)),
    ];
    proptest::collection::vec(step, 0..40)
}

fn assert_times_are_fixed(root: &Path, disk: &Disk) {
    for (path, ino) in disk.walk() {
        let path = root.join(OsStr::from_bytes(&path));
        let metadata = path.symlink_metadata().unwrap();
        if disk.content(ino).is_some() {
            let expected = (TIME_SECONDS.cast_signed(), 0);
            assert_eq!((metadata.mtime(), metadata.mtime_nsec()), expected, "{path:?}");
        }
    }
}

/// What recovery, or anybody else, may do to a real folder.
#[derive(Clone, Debug)]
enum Deed {
    /// Told to the stash first, as the interposed door does; then in the usual way.
    Remove(u8),
    /// Unseen.
    Unlink(u8),
    /// Removed and made again.
    Replace(u8),
    Move(u8, u8),
    Overwrite(u8, u16),
    Foreign(u8),
    Shut(u8),
}

fn name(number: u8) -> String {
    match number {
        128.. => format!("n{}/m{}", number % 5, number % 3),
        _ => format!("n{}", number % 5),
    }
}

impl Deed {
    /// Whatever it cannot do it leaves out.
    fn carry_out(&self, root: &Path, stash: &Stash) {
        let at = |number: &u8| root.join(name(*number));
        let is_file = |path: &Path| path.symlink_metadata().is_ok_and(|found| found.is_file());
        let remove = |path: &Path| stash.remove(path) || fs::remove_file(path).is_ok();
        match self {
            Deed::Remove(n) => drop(is_file(&at(n)) && remove(&at(n))),
            Deed::Unlink(n) => drop(fs::remove_file(at(n))),
            Deed::Replace(n) if is_file(&at(n)) => {
                remove(&at(n));
                fs::write(at(n), "another").unwrap();
            }
            Deed::Replace(_) => {}
            Deed::Move(from, to) => drop(fs::rename(at(from), at(to))),
            Deed::Overwrite(n, offset) => {
                if let Ok(file) = OpenOptions::new().write(true).open(at(n)) {
                    file.write_all_at(b"recovered", u64::from(*offset)).unwrap();
                }
            }
            Deed::Foreign(n) => drop(fs::write(root.join(format!("foreign{n}")), "x")),
            Deed::Shut(n) => drop(fs::set_permissions(at(n), Permissions::from_mode(0o100))),
        }
    }
}

fn deeds() -> impl Strategy<Value = Vec<Deed>> {
    let n = any::<u8>;
    let deed = prop_oneof![
        4 => n().prop_map(Deed::Remove),
        1 => n().prop_map(Deed::Unlink),
        1 => n().prop_map(Deed::Replace),
        1 => (n(), n()).prop_map(|(a, b)| Deed::Move(a, b)),
        2 => (n(), any::<u16>()).prop_map(|(a, b)| Deed::Overwrite(a, b)),
        1 => n().prop_map(Deed::Foreign),
        1 => n().prop_map(Deed::Shut),
    ];
    proptest::collection::vec(deed, 0..6)
}

/// A folder in memory, where directories count their names, and one that may be elsewhere; both with a stash.
fn folders() -> (Session, tempfile::TempDir, [(Folder, Arc<Stash>); 2]) {
    let (session, elsewhere) = (Session::new().unwrap(), tempfile::tempdir().unwrap());
    let folders = [session.path(), elsewhere.path()].map(|base| {
        let root = base.join("state");
        let stash = Arc::new(Stash::new(&root, base.join("aside"), |_| true).unwrap());
        (Folder::new(root).with_stash(stash.clone()), stash)
    });
    (session, elsewhere, folders)
}

proptest! {
    /// One folder takes the form of one disk after another, whatever was done to it: some disks have nothing
    /// to do with each other, some differ by a few steps.
    #[test]
    fn a_folder_becomes_equal_to_any_disk_after_any_other(
        rounds in proptest::collection::vec((steps(), any::<bool>(), deeds()), 1..6)
    ) {
        let (_session, _elsewhere, mut folders) = folders();
        let mut disk = Disk::new();
        for (steps, anew, deeds) in rounds {
            if anew {
                disk = Disk::new();
            }
            steps.iter().for_each(|step| apply(&mut disk, step));
            for (folder, stash) in &mut folders {
                folder.write(&disk).unwrap();
                prop_assert!(folder.verify(&disk).is_ok(), "{:?}", folder.verify(&disk));
                prop_assert_eq!(snapshot(folder.path()).unwrap().digest(), disk.digest());
                assert_times_are_fixed(folder.path(), &disk);
                deeds.iter().for_each(|deed| deed.carry_out(folder.path(), stash));
            }
        }
    }
}

/// The file at a path, by its number, which changes when it is made anew.
fn number(path: &Path) -> u64 {
    fs::metadata(path).unwrap().ino()
}

#[test]
fn what_is_removed_comes_back_as_it_was_to_be() {
    let (_session, _elsewhere, folders) = folders();
    for (mut folder, stash) in folders {
        let disk = a_disk();
        folder.write(&disk).unwrap();
        let file = folder.path().join("n0");
        let before = number(&file);
        fs::write(&file, "what recovery wrote").unwrap();
        assert!(stash.remove(&file) && !file.exists());
        // A disk without it comes in between.
        folder.write(&Disk::new()).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        folder.write(&disk).unwrap();
        assert_eq!(number(&file), before);
        folder.verify(&disk).unwrap();
        assert_times_are_fixed(folder.path(), &disk);
    }
}

#[test]
fn a_file_that_somebody_has_open_or_that_has_two_names_is_not_kept() {
    let session = Session::new().unwrap();
    let root = session.path().join("state");
    let stash = Arc::new(Stash::new(&root, session.path().join("aside"), |_| false).unwrap());
    let mut folder = Folder::new(&root).with_stash(stash.clone());
    let disk = a_disk();
    folder.write(&disk).unwrap();
    // The answer of who looks is no; a name of two; a directory; what is not there; what is elsewhere.
    for path in ["state/n0", "state/n1", "state/n3", "state/none", "elsewhere"] {
        assert!(!stash.remove(&session.path().join(path)), "{path}");
    }
    // Seen to go, and still there.
    folder.write(&disk).unwrap();
    folder.verify(&disk).unwrap();
}

#[test]
fn a_folder_that_is_not_as_it_should_be_is_found_out() {
    let (_session, _elsewhere, folders) = folders();
    for (mut folder, _) in folders {
        let disk = a_disk();
        folder.write(&disk).unwrap();
        fs::write(folder.path().join("n3/foreign"), "").unwrap();
        let broken = folder.verify(&disk).unwrap_err();
        assert_eq!(broken.verdict(), Verdict::NotMeasured);
        assert!(broken.to_string().ends_with("n3/foreign should not be there"), "{broken}");
    }
}

fn a_disk() -> Disk {
    let mut disk = Disk::new();
    let steps = [
        Step::File(0),
        Step::Write(0, 0, 1, 5000),
        Step::File(1),
        Step::Link(1, 2),
        Step::Dir(3),
        Step::File(133),
        Step::Symlink(4),
    ];
    steps.iter().for_each(|step| apply(&mut disk, step));
    disk
}

#[test]
fn what_an_engine_did_to_the_folder_is_undone() {
    let base = tempfile::tempdir().unwrap();
    let mut folder = Folder::new(base.path().join("state"));
    let disk = a_disk();
    folder.write(&disk).unwrap();
    let root = folder.path().to_path_buf();
    let deeds: [&dyn Fn(); 9] = [
        &|| fs::write(root.join("n0"), "short").unwrap(),
        &|| fs::write(root.join("n0"), vec![7; 100_000]).unwrap(),
        &|| fs::rename(root.join("n0"), root.join("other")).unwrap(),
        &|| fs::remove_dir_all(root.join("n3")).unwrap(),
        &|| fs::hard_link(root.join("n0"), root.join("second name")).unwrap(),
        &|| {
            fs::remove_file(root.join("n2")).unwrap();
            fs::copy(root.join("n1"), root.join("n2")).unwrap();
        },
        &|| {
            fs::remove_file(root.join("n4")).unwrap();
            fs::create_dir_all(root.join("n4/deep")).unwrap();
        },
        &|| fs::set_permissions(root.join("n1"), Permissions::from_mode(0o000)).unwrap(),
        &|| drop(fs::read(root.join("n0")).unwrap()),
    ];
    for (index, deed) in deeds.iter().enumerate() {
        deed();
        folder.write(&disk).unwrap();
        assert_eq!(difference(&disk, &snapshot(&root).unwrap()), None, "deed {index}");
        assert_times_are_fixed(&root, &disk);
    }
}

#[test]
fn a_hole_stays_a_hole() {
    let base = tempfile::tempdir().unwrap();
    let mut disk = Disk::new();
    apply(&mut disk, &Step::File(0));
    let ino = disk.lookup(&Slot::new(Ino::ROOT, "n0")).unwrap();
    disk.apply(&Op::SetLen { ino, len: 1 << 40 });
    let data = Bytes::new(b"end");
    disk.apply(&Op::Write { ino, offset: 1 << 39, data, direct: false, sync: None });
    Folder::new(base.path()).write(&disk).unwrap();
    assert!(fs::metadata(base.path().join("n0")).unwrap().blocks() < 100);
    assert_eq!(difference(&disk, &snapshot(base.path()).unwrap()), None);
}

#[test]
fn differences_are_told_in_words() {
    let base = tempfile::tempdir().unwrap();
    let root = base.path().join("state");
    let mut folder = Folder::new(&root);
    let disk = a_disk();
    let told = |deed: &dyn Fn(), folder: &mut Folder| {
        folder.write(&disk).unwrap();
        deed();
        difference(&disk, &snapshot(&root).unwrap()).unwrap()
    };
    let overwrite = || {
        let file = OpenOptions::new().write(true).open(root.join("n0")).unwrap();
        file.write_all_at(&[9], 4999).unwrap();
    };
    let split = || {
        fs::remove_file(root.join("n2")).unwrap();
        fs::copy(root.join("n1"), root.join("n2")).unwrap();
    };
    let relink = || {
        fs::remove_file(root.join("n4")).unwrap();
        symlink("elsewhere", root.join("n4")).unwrap();
    };
    let chmod = || fs::set_permissions(root.join("n0"), Permissions::from_mode(0o600)).unwrap();
    let replace = || {
        fs::remove_file(root.join("n0")).unwrap();
        fs::create_dir(root.join("n0")).unwrap();
    };
    let table: [(&dyn Fn(), &str); 8] = [
        (&|| fs::remove_file(root.join("n3/m1")).unwrap(), "n3/m1 is missing"),
        (&|| fs::write(root.join("x"), "").unwrap(), "x should not be there"),
        (&|| fs::write(root.join("n0"), "ab").unwrap(), "n0: has 2 bytes, should have 5000"),
        (&overwrite, "n0: has 0x09 at byte 4999, should have 0x01"),
        (&split, "n2: is one file with n2, should be one with n1"),
        (&relink, "n4: points to elsewhere, should to ../t4"),
        (&chmod, "n0: has mode 600, should have 644"),
        (&replace, "n0: is a directory, should be a file"),
    ];
    for (deed, expected) in table {
        assert_eq!(told(deed, &mut folder), expected);
    }
}

#[test]
fn what_a_disk_cannot_hold_is_refused() {
    let base = tempfile::tempdir().unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(base.path().join("s")).unwrap();
    let error = snapshot(base.path()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::Unsupported);
    Folder::new(base.path()).write(&Disk::new()).unwrap();
    assert_eq!(difference(&Disk::new(), &snapshot(base.path()).unwrap()), None);
}
