//! Mounts one by one: who is served, how, and what is left behind.

use std::ffi::CString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::ptr;

use faultfs::disk::Disk;
use faultfs_interpose::Mounted;

use super::{alone, folders};

/// A mount of an empty disk, with the folder that it stands in for.
fn mounted() -> (tempfile::TempDir, PathBuf, Mounted) {
    Mounted::trap().unwrap();
    let (folder, root, _) = folders(&Disk::new());
    let mounted = Mounted::new(&root, &Disk::new()).unwrap();
    (folder, root, mounted)
}

#[test]
fn calls_that_bypass_libc_or_come_from_inside_of_it_are_served() {
    use rustix::fs::{Mode, OFlags};
    let _alone = alone();
    let (_folder, root, mounted) = mounted();

    let flags = OFlags::CREATE | OFlags::RDWR;
    let raw = rustix::fs::open(root.join("raw"), flags, Mode::from_raw_mode(0o600)).unwrap();
    rustix::io::write(&raw, b"0123456789").unwrap();
    rustix::fs::rename(root.join("raw"), root.join("moved")).unwrap();
    assert_eq!(rustix::fs::fstat(&raw).unwrap().st_size, 10);

    let path = CString::new(root.join("stdio").as_os_str().as_bytes()).unwrap();
    // SAFETY: texts that end in zero, and a stream that is open.
    unsafe {
        let stream = libc::fopen(path.as_ptr(), c"w+".as_ptr());
        assert!(!stream.is_null());
        assert!(libc::fputs(c"from inside".as_ptr(), stream) >= 0);
        assert_eq!(libc::fclose(stream), 0);
    }
    assert_eq!(fs::read(root.join("stdio")).unwrap(), b"from inside");

    let mut named = tempfile::NamedTempFile::new_in(&root).unwrap();
    named.write_all(b"published").unwrap();
    named.persist(root.join("final")).unwrap();
    let mut unnamed = tempfile::tempfile_in(&root).unwrap();
    unnamed.write_all(b"nowhere").unwrap();
    let names: Vec<_> = fs::read_dir(&root).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, ["final", "moved", "stdio"]);
    assert_eq!(mounted.unserved(), None);
    drop(mounted);
    assert!(root.read_dir().unwrap().next().is_none(), "something reached the real folder");
}

#[test]
fn threads_share_a_mount_and_its_locks() {
    let _alone = alone();
    let (_folder, root, mounted) = mounted();
    let path = root.join("log");
    std::thread::scope(|scope| {
        for id in 0..4u8 {
            let path = &path;
            scope.spawn(move || {
                for _ in 0..50 {
                    let mut file = File::options().append(true).create(true).open(path).unwrap();
                    file.lock().unwrap();
                    file.write_all(&[id; 10]).unwrap();
                    file.write_all(&[id; 10]).unwrap();
                }
            });
        }
    });
    let log = fs::read(&path).unwrap();
    assert_eq!(log.len(), 4 * 50 * 20);
    for entry in log.chunks(20) {
        assert!(entry.iter().all(|byte| *byte == entry[0]), "a lock was held by two");
    }
    assert_eq!(mounted.unserved(), None);
}

#[test]
fn what_is_stored_through_a_mapping_is_in_the_file_and_in_other_mappings() {
    let _alone = alone();
    let (_folder, root, mounted) = mounted();
    fs::write(root.join("map"), [1; 8192]).unwrap();
    let file = File::options().read(true).write(true).open(root.join("map")).unwrap();
    // SAFETY: nobody outside of this test changes the file.
    let (mut one, other) =
        unsafe { (memmap2::MmapMut::map_mut(&file).unwrap(), memmap2::Mmap::map(&file).unwrap()) };
    one[5000] = 7;
    file.write_all_at(&[9], 6000).unwrap();
    assert_eq!((other[5000], one[6000], fs::read(root.join("map")).unwrap()[5000]), (7, 9, 7));
    // A read-only descriptor gives no way to store.
    let reader = File::open(root.join("map")).unwrap();
    // SAFETY: as above.
    assert!(unsafe { memmap2::MmapMut::map_mut(&reader) }.is_err());
    drop(mounted);
    // A mapping outlives the mount, as it outlives its descriptor.
    assert_eq!(other[5000], 7);
}

/// What a mapping took is used again where it has ended, and only there.
#[test]
fn what_was_stored_through_a_mapping_is_in_no_later_mount() {
    let _alone = alone();
    let mut left = None;
    for (byte, leaves) in [(1, false), (2, true), (3, false), (4, false)] {
        let (_folder, root, mounted) = mounted();
        let file = File::options().read(true).write(true).create_new(true).open(root.join("map"));
        let file = file.unwrap();
        // Longer than the one before, shorter, longer.
        file.set_len(12_000 + 4_000 * u64::from(byte % 2) * u64::from(byte)).unwrap();
        file.write_all_at(&[byte], 7).unwrap();
        // SAFETY: nobody outside of this test changes the file.
        let mut map = unsafe { memmap2::MmapMut::map_mut(&file).unwrap() };
        assert_eq!((map[7], map.len() as u64), (byte, file.metadata().unwrap().len()));
        assert_eq!(map.iter().filter(|stored| **stored != 0).count(), 1, "in mount {byte}");
        map.fill(byte);
        assert!(fs::read(root.join("map")).unwrap().iter().all(|read| *read == byte));
        if leaves {
            left = Some(map);
        }
        assert_eq!(mounted.unserved(), None);
    }
    assert!(left.unwrap().iter().all(|&byte| byte == 2));
}

/// A mapping that has ended is kept, and given to the next who asks for the same, unless its place or its
/// protection have become another's.
#[test]
fn a_mapping_that_is_kept_is_in_nobodys_way() {
    const LEN: usize = 8192;
    let usual = |file: &File| {
        let (protection, fd) = (libc::PROT_READ | libc::PROT_WRITE, file.as_raw_fd());
        // SAFETY: a file of that length, mapped anywhere.
        let map = unsafe { libc::mmap(ptr::null_mut(), LEN, protection, libc::MAP_SHARED, fd, 0) };
        assert_ne!(map, libc::MAP_FAILED);
        map.cast::<u8>()
    };
    // SAFETY: what is ended was mapped here, and is not used any more.
    let end = |map: *mut u8| assert_eq!(unsafe { libc::munmap(map.cast(), LEN) }, 0);
    let _alone = alone();
    let (_folder, root, mounted) = mounted();
    let file = File::options().read(true).write(true).create_new(true).open(root.join("map"));
    let file = file.unwrap();
    file.write_all_at(&[1; LEN], 0).unwrap();

    let first = usual(&file);
    end(first);
    file.write_all_at(&[2], 0).unwrap();
    let again = usual(&file);
    // SAFETY: mapped just now.
    assert_eq!((again, unsafe { again.read() }), (first, 2));

    // One that is read-only when it ends.
    // SAFETY: mapped, and not read in between.
    assert_eq!(unsafe { libc::mprotect(again.cast(), LEN, libc::PROT_READ) }, 0);
    end(again);
    let writable = usual(&file);
    // SAFETY: mapped just now.
    unsafe { writable.write(3) };
    end(writable);

    // What the program believes to be free it may take.
    let (private, anywhere) = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, libc::PROT_WRITE);
    let fixed = private | libc::MAP_FIXED_NOREPLACE;
    // SAFETY: nothing of the program's is there.
    let taken = unsafe { libc::mmap(writable.cast(), LEN, anywhere, fixed, -1, 0) };
    assert_eq!(taken.cast(), writable);
    // SAFETY: mapped just now.
    unsafe { taken.cast::<u8>().write(9) };
    let elsewhere = usual(&file);
    // SAFETY: as above.
    assert_eq!(unsafe { elsewhere.read() }, 3);
    assert_ne!(elsewhere, writable);
    end(elsewhere);
    end(writable);
    // In another state, and shorter: behind the end there is nothing of the last one.
    file.set_len(0).unwrap();
    file.set_len(LEN as u64).unwrap();
    let emptied = usual(&file);
    // SAFETY: as above.
    assert!(unsafe { std::slice::from_raw_parts(emptied, LEN) }.iter().all(|byte| *byte == 0));
    assert_eq!(mounted.unserved(), None);
}

/// Folders above the root are as they were until this process changes something outside.
#[test]
fn folders_above_the_root_are_what_the_kernel_tells() {
    let _alone = alone();
    let look = |at: &Path| {
        let at = CString::new(at.as_os_str().as_bytes()).unwrap();
        // SAFETY: all zeros are valid for it.
        let (mut served, mut real) = unsafe { std::mem::zeroed::<(libc::stat, libc::stat)>() };
        // SAFETY: a path that ends in zero, and the addresses of locals.
        unsafe {
            assert_eq!(libc::lstat(at.as_ptr(), &raw mut served), 0);
            let flags = libc::AT_SYMLINK_NOFOLLOW;
            assert_eq!(libc::fstatat(libc::AT_FDCWD, at.as_ptr(), &raw mut real, flags), 0);
        }
        let of = |s: libc::stat| (s.st_dev, s.st_ino, s.st_mode, s.st_nlink);
        (of(served), of(real))
    };
    let changes: [&dyn Fn(&Path); 3] = [
        &|above| fs::create_dir(above.join("made")).unwrap(),
        &|above| fs::set_permissions(above, fs::Permissions::from_mode(0o750)).unwrap(),
        &|above| {
            let above = File::open(above).unwrap();
            above.set_permissions(fs::Permissions::from_mode(0o705)).unwrap();
        },
    ];
    for change in changes {
        let (_folder, root, mounted) = mounted();
        let root = root.canonicalize().unwrap();
        let above: Vec<&Path> = root.ancestors().skip(1).collect();
        assert!(above.len() > 1);
        for at in &above {
            let (served, real) = look(at);
            assert_eq!(served, real, "{}", at.display());
        }
        let (before, _) = look(above[0]);
        change(above[0]);
        let (served, real) = look(above[0]);
        assert_eq!(served, real);
        assert_ne!(served, before);
        assert_eq!(mounted.unserved(), None);
    }
}

#[test]
fn a_descriptor_that_was_left_open_is_bad_in_the_next_mount() {
    let _alone = alone();
    let (_folder, root, mounted) = mounted();
    let left = File::create(root.join("left")).unwrap();
    drop(mounted);
    let mounted = Mounted::new(&root, &Disk::new()).unwrap();
    let next = File::create(root.join("next")).unwrap();
    assert_ne!(next.as_raw_fd(), left.as_raw_fd());
    let error = left.metadata().unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EBADF));
    assert_eq!(mounted.unserved(), None);
    drop((left, mounted));
    assert_eq!(fs::read_dir(&root).unwrap().count(), 0);
}

/// As the kernel tells it, asked past libc. A change of it is seen, also one that changes nothing.
#[test]
fn who_the_process_is_is_told_as_it_is() {
    let _alone = alone();
    let asked = || {
        // SAFETY: no arguments.
        let (pid, user) = unsafe { (libc::getpid(), libc::geteuid()) };
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.split_whitespace().map(|word| word.parse().unwrap()).collect::<Vec<i64>>()
        };
        assert_eq!(i64::from(pid), field("Pid:")[0]);
        assert_eq!(i64::from(user), field("Uid:")[1]);
    };
    asked();
    for _ in 0..2 {
        let (_folder, _root, mounted) = mounted();
        asked();
        asked();
        assert_eq!(mounted.unserved(), None);
        // SAFETY: no addresses.
        assert_eq!(unsafe { libc::setreuid(u32::MAX, libc::geteuid()) }, 0);
        asked();
        assert_eq!(mounted.unserved(), Some("another user, or another namespace"));
    }
    asked();
}

#[test]
fn what_cannot_be_served_is_told() {
    let _alone = alone();
    let told = |ask: &dyn Fn(&Path)| {
        let (_folder, root, mounted) = mounted();
        ask(&root);
        mounted.unserved()
    };
    assert_eq!(told(&|root| fs::write(root.join("a"), "b").unwrap()), None);
    let started = told(&|_| assert!(std::process::Command::new("true").status().is_err()));
    assert!(started.unwrap().contains("program"));
    let left = told(&|root| {
        fs::write(root.join("a"), "b").unwrap();
        let out = root.with_file_name("out");
        assert_eq!(
            fs::rename(root.join("a"), out).unwrap_err().kind(),
            io::ErrorKind::CrossesDevices
        );
    });
    assert!(left.unwrap().contains("moved"));
    let above = told(&|root| assert!(root.join("..").join("folder").exists()));
    assert_eq!(above, Some("a path that leads out of the root"));
    let changed = told(&|root| {
        // A way to the real folder that cannot be told from the path.
        std::os::unix::fs::symlink(root, root.with_file_name("way")).unwrap();
        fs::write(root.with_file_name("way").join("stray"), "").unwrap();
        fs::remove_file(root.with_file_name("way").join("stray")).unwrap();
    });
    assert_eq!(changed, Some("a change of the real folder"));
}

#[test]
fn a_folder_that_is_not_empty_is_refused() {
    let _alone = alone();
    let (_folder, _, real) = folders(&Disk::new());
    fs::write(real.join("hidden"), "").unwrap();
    let error = Mounted::new(&real, &Disk::new()).unwrap_err();
    assert!(error.to_string().contains("not empty"), "{error}");
}
