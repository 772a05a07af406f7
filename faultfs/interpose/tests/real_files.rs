//! Checks on real files, one after the other in one folder: each is given its disk, byte for byte, whatever
//! the one before did to the folder, by whichever way.

#![allow(unsafe_code, reason = "mappings")]

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;

use faultfs::disk::Disk;
use faultfs::explore::Door;
use faultfs::folder::{TIME_SECONDS, difference};
use faultfs::op::{Bytes, Ino, Kind, Op, Slot};
use faultfs::session::Session;
use faultfs::verdict::Broken;
use faultfs_interpose::{Interposed, snapshot};

/// The door of the process has one user at a time.
static ALONE: Mutex<()> = Mutex::new(());

/// A database, its journal and a folder with one more file.
fn disk(byte: u8) -> Disk {
    let mut disk = Disk::new();
    let dir = disk.fresh_ino();
    let slot = Slot::new(Ino::ROOT, "dir");
    disk.apply(&Op::Create { slot, ino: dir, kind: Kind::Dir, mode: 0o755 });
    for (at, name, len) in
        [(Ino::ROOT, "db", 20_000), (Ino::ROOT, "journal", 9_000), (dir, "in", 5_000)]
    {
        let ino = disk.fresh_ino();
        let slot = Slot::new(at, name);
        disk.apply(&Op::Create { slot, ino, kind: Kind::File, mode: 0o644 });
        let data = Bytes::new(&vec![byte; len]);
        disk.apply(&Op::Write { ino, offset: 0, data, direct: false, sync: None });
    }
    disk
}

type Engine = Interposed<fn(&Path) -> Result<(), Broken>>;

fn check(
    engine: &mut Engine,
    room: &Path,
    disk: &Disk,
    recovery: &dyn Fn(&Path),
) -> Result<(), Broken> {
    engine.check(room, disk, &mut |root| {
        let found = snapshot(root).unwrap();
        assert_eq!(difference(disk, &found), None);
        for name in ["db", "journal", "dir/in"] {
            assert_eq!(fs::metadata(root.join(name)).unwrap().mtime(), TIME_SECONDS as i64);
        }
        recovery(root);
        Ok(())
    })
}

fn overwrite(path: &Path) {
    OpenOptions::new().write(true).open(path).unwrap().write_all_at(b"recovered", 4090).unwrap();
}

fn store_through_a_mapping(path: &Path) {
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    // SAFETY: nobody else changes the file.
    let mut map = unsafe { memmap2::MmapMut::map_mut(&file) }.unwrap();
    map[8_000] = 99;
}

fn child(root: &Path, line: &str) {
    assert!(Command::new("sh").current_dir(root).args(["-c", line]).status().unwrap().success());
}

#[test]
fn each_check_has_its_disk_whatever_the_last_one_did() {
    let _alone = ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let session = Session::new().unwrap();
    let mut engine: Engine = Interposed::new(|_| Ok(()));
    let recoveries: [&dyn Fn(&Path); 16] = [
        &|_| {},
        &|root| fs::remove_file(root.join("journal")).unwrap(),
        &|root| {
            fs::remove_file(root.join("journal")).unwrap();
            fs::write(root.join("journal"), "made again").unwrap();
        },
        &|root| {
            overwrite(&root.join("journal"));
            fs::remove_file(root.join("journal")).unwrap();
            fs::remove_file(root.join("dir/in")).unwrap();
        },
        &|root| rustix::fs::unlink(root.join("journal")).unwrap(),
        &|root| {
            let file = rustix::fs::open(
                root.join("db"),
                rustix::fs::OFlags::WRONLY,
                rustix::fs::Mode::empty(),
            );
            rustix::io::pwrite(file.unwrap(), b"unseen", 100).unwrap();
        },
        &|root| store_through_a_mapping(&root.join("db")),
        &|root| {
            store_through_a_mapping(&root.join("journal"));
            fs::remove_file(root.join("journal")).unwrap();
        },
        &|root| child(root, "rm journal; echo child > db; mkdir -p a/b; echo > a/b/c"),
        &|root| fs::rename(root.join("journal"), root.join("db")).unwrap(),
        &|root| fs::rename(root.join("dir"), root.join("other")).unwrap(),
        &|root| {
            fs::hard_link(root.join("journal"), root.join("link")).unwrap();
            fs::remove_file(root.join("journal")).unwrap();
        },
        &|root| {
            fs::remove_file(root.join("journal")).unwrap();
            symlink("db", root.join("journal")).unwrap();
        },
        &|root| {
            fs::set_permissions(root, fs::Permissions::from_mode(0o500)).unwrap();
            fs::set_permissions(root.join("dir"), fs::Permissions::from_mode(0o000)).unwrap();
        },
        &|root| {
            fs::remove_dir_all(root).unwrap();
            fs::create_dir(root).unwrap();
            fs::write(root.join("db"), "another folder").unwrap();
        },
        &|root| {
            fs::remove_file(root.join("db")).unwrap();
            panic!("half-way");
        },
    ];
    for (round, recovery) in recoveries.iter().enumerate() {
        for (step, disk) in [disk(1), disk(round as u8), Disk::new(), disk(2)].iter().enumerate() {
            engine.compare_next();
            let is_first = step == 0;
            let outcome = catch_unwind(AssertUnwindSafe(|| {
                if disk.entries(Ino::ROOT).is_some_and(|entries| entries.is_empty()) {
                    return engine.check(session.path(), disk, &mut |root| {
                        assert_eq!(fs::read_dir(root).unwrap().count(), 0);
                        Ok(())
                    });
                }
                check(&mut engine, session.path(), disk, if is_first { recovery } else { &|_| {} })
            }));
            let panics = is_first && round + 1 == recoveries.len();
            match outcome {
                Ok(outcome) => outcome.unwrap_or_else(|broken| panic!("round {round}: {broken}")),
                Err(_) => assert!(panics, "round {round}, step {step}"),
            }
        }
    }
}

/// What a removal by libc leaves is told from a real one by nothing: the file is gone for who has it open,
/// and it is another than what is made there next.
#[test]
fn a_removal_is_a_removal_for_whoever_looks() {
    let _alone = ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let session = Session::new().unwrap();
    let mut engine: Engine = Interposed::new(|_| Ok(()));
    let number = |root: &Path| fs::metadata(root.join("journal")).unwrap().ino();
    let numbers = Mutex::new(Vec::new());
    let mut run = |recovery: &dyn Fn(&Path)| {
        check(&mut engine, session.path(), &disk(1), &|root| {
            numbers.lock().unwrap().push(number(root));
            recovery(root);
        })
        .unwrap();
    };
    // Open, or mapped: nobody may find the name gone and the file not.
    run(&|root| {
        let open = File::open(root.join("journal")).unwrap();
        fs::remove_file(root.join("journal")).unwrap();
        assert_eq!(open.metadata().unwrap().nlink(), 0);
    });
    run(&|root| {
        // SAFETY: nobody changes the file.
        let map =
            unsafe { memmap2::Mmap::map(&File::open(root.join("journal")).unwrap()) }.unwrap();
        fs::remove_file(root.join("journal")).unwrap();
        let maps = fs::read_to_string("/proc/self/maps").unwrap();
        assert!(maps.contains("journal (deleted)"), "{map:?}");
    });
    // In nobody's hands: it may be kept, and nobody sees it.
    run(&|root| {
        fs::remove_file(root.join("journal")).unwrap();
        assert!(!root.join("journal").exists());
        assert_eq!(fs::read_dir(root).unwrap().count(), 2);
        let again = fs::remove_file(root.join("journal")).unwrap_err();
        assert_eq!(again.raw_os_error(), Some(libc::ENOENT));
        fs::write(root.join("journal"), "new").unwrap();
        assert_ne!(number(root), *numbers.lock().unwrap().last().unwrap());
        fs::remove_file(root.join("journal")).unwrap();
    });
    run(&|root| fs::remove_file(root.join("journal")).unwrap());
    run(&|_| {});
    let [first, second, third, fourth, fifth] = numbers.into_inner().unwrap()[..] else {
        unreachable!("five checks")
    };
    assert!(first != second && second != third, "what was open was made anew");
    assert_eq!([third, third], [fourth, fifth], "what was not came back");
}

/// Several folders may be made ready before the first is checked. What is made ready for another disk is
/// found out where it is looked at.
#[test]
fn a_folder_that_was_made_ready_is_the_one_that_is_checked() {
    let _alone = ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let session = Session::new().unwrap();
    let mut engine: Engine = Interposed::new(|_| Ok(()));
    let rooms = [session.path().join("a"), session.path().join("b")];
    rooms.iter().for_each(|room| fs::create_dir(room).unwrap());
    for round in 0..3 {
        for (room, byte) in rooms.iter().zip(round..) {
            engine.prepare(room, &disk(byte)).unwrap();
        }
        for (room, byte) in rooms.iter().zip(round..) {
            engine.compare_next();
            check(&mut engine, room, &disk(byte), &|root| {
                fs::remove_file(root.join("journal")).unwrap();
                overwrite(&root.join("db"));
            })
            .unwrap();
        }
    }
    engine.prepare(&rooms[0], &disk(1)).unwrap();
    engine.compare_next();
    let mistaken = engine.check(&rooms[0], &disk(2), &mut |_| Ok(())).unwrap_err();
    assert!(
        mistaken.to_string().starts_with("not-measured: the folder was not made"),
        "{mistaken}"
    );
}
