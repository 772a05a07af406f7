//! What the standard library asks for.

mod common;

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{IoSlice, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt, symlink};

use common::{Recording, words};
use faultfs::op::{Op, SyncKind};
use faultfs::trace::Mark;
use faultfs_interpose::{ack, begin, failed};

#[test]
fn calls_of_std_are_recorded_in_order_with_their_data() {
    let recording = Recording::new();
    fs::write(recording.root.join("old"), "before").unwrap();
    let trace = recording.record_whole(false, |root| {
        begin(1);
        fs::create_dir(root.join("dir")).unwrap();
        let mut file = File::create_new(root.join("dir/log")).unwrap();
        file.write_all(b"hello").unwrap();
        assert_eq!(file.write_vectored(&[IoSlice::new(b"ab"), IoSlice::new(b"cd")]).unwrap(), 4);
        file.seek(SeekFrom::Start(100)).unwrap();
        file.write_all(b"far").unwrap();
        file.write_all_at(b"HE", 0).unwrap();
        file.sync_data().unwrap();
        file.set_len(50).unwrap();
        file.sync_all().unwrap();
        ack(1);
        File::open(root.join("dir")).unwrap().sync_all().unwrap();
        begin(2);
        let mut append = OpenOptions::new().append(true).open(root.join("old")).unwrap();
        append.write_all(b" and after").unwrap();
        append.set_permissions(Permissions::from_mode(0o600)).unwrap();
        fs::rename(root.join("old"), root.join("dir/new")).unwrap();
        fs::hard_link(root.join("dir/new"), root.join("twin")).unwrap();
        symlink("dir/new", root.join("soft")).unwrap();
        // Through a symbolic link, and truncating.
        fs::write(root.join("soft"), "short").unwrap();
        fs::remove_file(root.join("dir/new")).unwrap();
        fs::copy(root.join("dir/log"), root.join("copy")).unwrap();
        fs::rename(root.join("copy"), root.join("dir/log")).unwrap();
        failed(2);
        fs::create_dir(root.join("empty")).unwrap();
        fs::remove_dir(root.join("empty")).unwrap();
        // Unlinked and still open.
        file.write_all_at(b"nowhere", 0).unwrap();
        let mut sync = OpenOptions::new();
        sync.write(true).create(true).custom_flags(libc::O_DSYNC);
        sync.open(root.join("sync")).unwrap().write_all(b"x").unwrap();
        fs::set_permissions(root.join("sync"), Permissions::from_mode(0o640)).unwrap();
        assert!(fs::create_dir(root.join("dir")).is_err());
    });
    // The trace calls a file by a name that it got in the run, if any.
    let expected = [
        "mkdir dir",
        "create dir/log",
        "write dir/log 0+5",
        "write dir/log 5+4",
        "write dir/log 100+3",
        "write dir/log 0+2",
        "fdatasync dir/log",
        "set length dir/log 50",
        "fsync dir/log",
        "fsync dir",
        "write twin 6+10",
        "set mode twin 600",
        "rename old dir/new",
        "link twin",
        "symlink soft",
        "set length twin 0",
        "write twin 0+5",
        "unlink dir/new",
        "create copy",
        "set mode copy 644",
        "write copy 0+50",
        "rename copy dir/log",
        "mkdir empty",
        "unlink empty",
        "write dir/log 0+7",
        "create sync",
        "write sync 0+1",
        "set mode sync 640",
        "mkdir dir",
    ];
    assert_eq!(words(&trace), expected);
    let last = trace.ops.last().unwrap();
    assert_eq!(last.errno, Some(libc::EEXIST));
    assert!(matches!(trace.ops[26].op, Op::Write { sync: Some(SyncKind::Data), .. }));
    let marks: Vec<Mark> = trace.marks.iter().map(|&(_, mark)| mark).collect();
    assert_eq!(marks, [Mark::Begin(1), Mark::Ack(1), Mark::Begin(2), Mark::Failed(2)]);
    let sync_ended = trace.ops[8].end.unwrap();
    assert!(sync_ended < trace.marks[1].0);
    assert!(trace.marks[1].0 < trace.ops[9].start);
    let mut content = String::new();
    File::open(recording.root.join("twin")).unwrap().read_to_string(&mut content).unwrap();
    assert_eq!(content, "short");
}
