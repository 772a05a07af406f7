//! Files that are mapped: what a store is to later reads and syncs, what a crash leaves of it, what goes wrong
//! with an access and with `msync`; and two engines that write through mappings, each with a mistake that is
//! found and a twin that holds.

use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use faultfs::crash::Loss;
use faultfs::errno::{EACCES, EIO, ENODEV, ENOSPC};
use faultfs::fault::{Place, Since, SyncFailure};
use faultfs::fs::{Capacity, File, FsMapMut, OpenOptions, Rot};
use faultfs::op::{Op, PAGE};
use faultfs::plan::{Plan, on};
use faultfs::report::{Failure, Report};
use faultfs::sweep::Group;
use faultfs::trace::Marks;
use faultfs::verdict::{Broken, Verdict};
use faultfs::{FaultFs, FaultMap, Profile, explore, sweep};

const P: usize = PAGE as usize;

/// In memory, and on a folder that lives as long as the value beside it.
fn both() -> [(FaultFs, Option<tempfile::TempDir>); 2] {
    let folder = tempfile::tempdir().unwrap();
    let real = FaultFs::real(folder.path()).unwrap();
    [(FaultFs::mem(), None), (real, Some(folder))]
}

/// A durable file of `len` bytes `o`, and its mapping.
fn mapped(fs: &FaultFs, len: usize) -> (File, FaultMap<FsMapMut>) {
    let file = fs.create_new("f").unwrap();
    file.write_all_at(&vec![b'o'; len], 0).unwrap();
    fs.sync().unwrap();
    let map = file.map_mut().unwrap();
    (file, map)
}

/// The first byte of each page of the file.
fn firsts(fs: &FaultFs) -> String {
    let all = fs.read("f").unwrap();
    all.iter().step_by(P).map(|&byte| if byte == 0 { '0' } else { byte as char }).collect()
}

/// What of it survives a crash that loses all that it can.
fn durable(fs: &FaultFs) -> String {
    firsts(&fs.crash_clone(Profile::POSIX, Loss::Everything).fs())
}

#[track_caller]
fn is_true(fs: &FaultFs) {
    let trace = fs.take_trace();
    assert_eq!(trace.unmodelled, [""; 0]);
    assert_eq!(trace.replay().digest(), fs.disk().digest());
}

#[track_caller]
fn fails<T: std::fmt::Debug>(errno: faultfs::errno::Errno, result: io::Result<T>) {
    assert_eq!(result.unwrap_err().raw_os_error(), Some(errno.raw()));
}

#[test]
fn a_mapping_and_the_file_are_one() {
    for (fs, _folder) in both() {
        let (mut file, mut map) = mapped(&fs, 2 * P);
        assert_eq!((map.len(), map.is_empty()), (2 * P, false));
        map.write_all_at(b"stored", 3).unwrap();
        let mut found = [0; 9];
        file.read_exact_at(&mut found, 0).unwrap();
        assert_eq!(&found, b"ooostored");
        file.write_all_at(b"written", P as u64 - 3).unwrap();
        let other = file.map_range(P as u64 - 3, 7).unwrap();
        assert_eq!(other.read(0..7, <[u8]>::to_vec).unwrap(), b"written");
        let returned = map.edit(P - 3..P + 4, |bytes| {
            assert_eq!(bytes, b"written");
            bytes.reverse();
            7
        });
        assert_eq!(returned.unwrap(), 7);
        let mut found = [0; 7];
        other.read_exact_at(&mut found, 0).unwrap();
        assert_eq!(&found, b"nettirw");
        // A mapping outlives the handle and the name.
        file.read_exact(&mut [0]).unwrap();
        drop(file);
        fs.remove_file("f").unwrap();
        map.write_all_at(b"x", 0).unwrap();
        assert_eq!(map.read(0..1, |bytes| bytes[0]).unwrap(), b'x');
        is_true(&fs);
    }
}

#[test]
fn stores_are_recorded_when_they_happen_and_as_far_as_they_change_pages() {
    let fs = FaultFs::mem();
    let (_file, mut map) = mapped(&fs, 3 * P);
    fs.take_trace();
    map.write_all_at(b"oo", P - 1).unwrap();
    fs.begin(1);
    map.edit(0..3 * P, |bytes| {
        bytes[5] = 1;
        bytes[9] = 1;
        bytes[2 * P + 1] = 1;
    })
    .unwrap();
    fs.ack(1);
    map.flush_range(P + 1, 1).unwrap();
    map.flush().unwrap();
    map.flush_async().unwrap();
    let trace = fs.trace();
    let found: Vec<String> = (0..trace.ops.len()).map(|index| trace.describe(index)).collect();
    assert_eq!(
        found,
        [
            "mapped store f 4095..4097",
            "mapped store f 5..10",
            "mapped store f 8193..8194",
            "msync f",
            "msync f",
            "start write-back f"
        ]
    );
    let ranges = trace.ops.iter().filter_map(|record| match record.op {
        Op::SyncMap { offset, len, .. } => Some((offset, len)),
        _ => None,
    });
    assert_eq!(ranges.collect::<Vec<_>>(), [(4097, 1), (0, 12288)]);
    let (begun, acked) = (trace.marks[0].0, trace.marks[1].0);
    assert!(trace.ops[0].end.unwrap() < begun && begun < trace.ops[1].start);
    assert!(trace.ops[2].end.unwrap() < acked && acked < trace.ops[3].start);
    assert!(trace.ops.iter().all(|r| r.site.as_ref().unwrap().file.ends_with("maps.rs")));
}

#[test]
fn msync_covers_the_pages_of_its_range_and_no_other() {
    for (fs, _folder) in both() {
        let (_file, mut map) = mapped(&fs, 4 * P);
        map.edit(0..4 * P, |bytes| bytes.fill(b'n')).unwrap();
        assert_eq!((firsts(&fs), durable(&fs)), ("nnnn".into(), "oooo".into()));
        map.flush_async().unwrap();
        assert_eq!(durable(&fs), "oooo");
        map.flush_range(P, 0).unwrap();
        assert_eq!(durable(&fs), "oooo", "no page is asked for");
        map.flush_range(2 * P - 1, 2).unwrap();
        assert_eq!(durable(&fs), "onno");
        map.flush().unwrap();
        assert_eq!(durable(&fs), "nnnn");
        is_true(&fs);
    }
}

#[test]
fn a_file_sync_covers_what_was_stored_through_a_mapping() {
    let fs = FaultFs::mem();
    let (file, mut map) = mapped(&fs, 2 * P);
    map.edit(0..2 * P, |bytes| bytes.fill(b'n')).unwrap();
    file.sync_data().unwrap();
    assert_eq!(durable(&fs), "nn");
}

#[test]
fn what_lies_behind_the_end_of_the_file_is_not_stored_and_a_page_behind_it_is_an_error() {
    for (fs, _folder) in both() {
        let (file, _) = mapped(&fs, 100);
        let mut map = file.map_mut_range(0, 3 * P).unwrap();
        map.write_all_at(b"behind", 98).unwrap();
        assert_eq!(map.read(98..104, <[u8]>::to_vec).unwrap(), b"be\0\0\0\0");
        assert_eq!(fs.metadata("f").unwrap().len(), 100);
        let error = map.read(P - 1..P + 1, <[u8]>::to_vec).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
        assert!(error.to_string().contains("byte 4096"), "{error}");
        assert_eq!(map.write_all_at(b"x", P).unwrap_err().kind(), ErrorKind::UnexpectedEof);
        // It is there as soon as the file is.
        file.set_len(2 * PAGE).unwrap();
        map.write_all_at(b"x", P).unwrap();
        assert_eq!(map.read(100..104, <[u8]>::to_vec).unwrap(), [0; 4]);
        assert_eq!(firsts(&fs), "ox");
        // Cut under the mapping.
        file.set_len(1).unwrap();
        assert_eq!(map.read(P..P + 1, |_| ()).unwrap_err().kind(), ErrorKind::UnexpectedEof);
        assert_eq!(map.edit(P..P + 1, |_| ()).unwrap_err().kind(), ErrorKind::UnexpectedEof);
        assert_eq!(map.read(0..4, <[u8]>::to_vec).unwrap(), b"o\0\0\0");
        is_true(&fs);
    }
}

#[test]
fn misuse_is_told_at_once() {
    let fs = FaultFs::mem();
    let (file, mut map) = mapped(&fs, P);
    for access in [P..P + 1, 0..P + 1] {
        assert!(catch_unwind(|| map.read(access, |_| ())).is_err());
    }
    assert!(catch_unwind(AssertUnwindSafe(|| map.write_all_at(b"x", P))).is_err());
    assert_eq!(map.flush_range(0, P + 1).unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(map.flush_range(usize::MAX, 1).unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(file.map_range(u64::MAX, 1).unwrap_err().kind(), ErrorKind::InvalidInput);
    fails(EACCES, fs.open("f").unwrap().map_mut());
    fails(EACCES, fs.create("g").unwrap().map_mut());
    fails(EACCES, fs.create("g").unwrap().map());
    fails(ENODEV, fs.open(".").unwrap().map());
    fails(EACCES, fs.open(".").unwrap().map_mut());
    assert!(fs.open("f").unwrap().map().is_ok());
    let mut options = OpenOptions::new();
    let appends = fs.open_with("f", options.read(true).append(true)).unwrap();
    appends.map_mut().unwrap().write_all_at(b"a", 0).unwrap();
    assert_eq!((firsts(&fs), fs.metadata("f").unwrap().len()), ("a".into(), PAGE));
}

#[test]
fn a_closure_that_asks_the_filesystem_for_something_is_told_so() {
    let fs = FaultFs::mem();
    let (file, mut map) = mapped(&fs, P);
    let asks: [&dyn Fn(); 4] =
        [&|| drop(file.sync_all()), &|| fs.ack(1), &|| drop(fs.rename("f", "g")), &|| {
            drop(fs.trace())
        }];
    for ask in asks {
        let edited = catch_unwind(AssertUnwindSafe(|| {
            map.edit(0..1, |bytes| {
                bytes[0] = b'n';
                ask();
            })
        }));
        let message = *edited.unwrap_err().downcast::<&str>().unwrap();
        assert!(message.contains("ask before or after it"), "{message}");
    }
    assert_eq!(firsts(&fs), "o", "nothing was stored");
    // Another filesystem may be asked, and a handle may go.
    let other = FaultFs::mem();
    let handle = fs.open("f").unwrap();
    map.edit(0..1, |bytes| {
        bytes[0] = b'n';
        other.write("x", "y").unwrap();
        drop(handle);
    })
    .unwrap();
    file.sync_all().unwrap();
    assert_eq!(durable(&fs), "n");
}

#[test]
fn a_failed_msync_leaves_its_pages_clean_until_they_are_stored_to_again() {
    for (fs, _folder) in both() {
        let (_file, mut map) = mapped(&fs, 3 * P);
        map.edit(0..3 * P, |bytes| bytes.fill(b'n')).unwrap();
        fs.arm(on::msync().path("f").take(1).fail(EIO));
        fails(EIO, map.flush_range(0, 2 * P));
        map.flush().unwrap();
        assert_eq!((firsts(&fs), durable(&fs)), ("nnn".into(), "oon".into()));
        // What is there already, once more.
        map.write_all_at(b"n", P).unwrap();
        map.flush().unwrap();
        assert_eq!(durable(&fs), "onn");
        fs.evict("f").unwrap();
        assert_eq!(firsts(&fs), "onn");
        fs.injector().finish().unwrap();
        is_true(&fs);
    }
}

#[test]
fn a_failed_msync_does_as_each_kernel_does() {
    let after = |how: SyncFailure| {
        let outcomes = both().map(|(fs, _folder)| {
            let (file, mut map) = mapped(&fs, 3 * P);
            map.edit(0..3 * P, |bytes| bytes.fill(b'n')).unwrap();
            fs.arm(on::msync().take(1).fail_sync(how, EIO));
            let told = [map.flush_range(0, 2 * P), file.sync_all(), file.sync_all()];
            let told = told.map(|told| if told.is_ok() { "ok" } else { "EIO" });
            is_true(&fs);
            (told, firsts(&fs))
        });
        assert_eq!(outcomes[0], outcomes[1]);
        let [(told, seen), _] = outcomes;
        (told, seen)
    };
    let (told, seen) = after(SyncFailure::EXT4_ORDERED);
    // The mapping and the handle are one file description, and it is told once.
    assert_eq!((told, &*seen), (["EIO", "ok", "ok"], "nnn"));
    let (told, seen) = after(SyncFailure::EXT4_DATA_JOURNAL);
    assert_eq!((told, &*seen), (["ok", "EIO", "ok"], "nnn"));
    let (told, seen) = after(SyncFailure::BTRFS);
    assert_eq!((told, &*seen), (["EIO", "ok", "ok"], "oon"));
    let (told, seen) = after(SyncFailure::FREEBSD);
    assert_eq!((told, &*seen), (["EIO", "ok", "ok"], "nnn"));

    let fs = FaultFs::mem();
    let (_file, mut map) = mapped(&fs, 3 * P);
    map.edit(0..3 * P, |bytes| bytes.fill(b'n')).unwrap();
    let page = SyncFailure::EXT4_ORDERED.of_bytes(PAGE..PAGE + 1);
    fs.arm(on::msync().take(1).fail_sync(page, EIO));
    fails(EIO, map.flush_range(0, 2 * P));
    assert_eq!(
        durable(&fs),
        "noo",
        "the other page of the range was written, and none outside of it"
    );
}

#[test]
fn a_lying_msync_makes_nothing_durable_and_one_that_fails_after_it_does() {
    let fs = FaultFs::mem();
    let (_file, mut map) = mapped(&fs, P);
    map.write_all_at(b"n", 0).unwrap();
    fs.arm([on::msync().take(1).lie(), on::msync().skip(1).take(1).fail_after(EIO)]);
    map.flush().unwrap();
    assert_eq!(durable(&fs), "o");
    fails(EIO, map.flush());
    assert_eq!(durable(&fs), "n");
    fs.injector().finish().unwrap();
}

#[test]
fn an_access_that_fails_returns_the_error_and_stores_nothing() {
    for (fs, _folder) in both() {
        let (file, mut map) = mapped(&fs, 2 * P);
        fs.arm([
            on::map().take(1).fail(EIO),
            on::load().at(PAGE..2 * PAGE).take(1).fail(EIO),
            on::store().path("f").take(2).fail(ENOSPC),
        ]);
        fails(EIO, file.map_mut());
        assert_eq!(map.read(0..1, |bytes| bytes[0]).unwrap(), b'o');
        fails(EIO, map.read(0..P + 1, |_| ()));
        fails(ENOSPC, map.write_all_at(b"n", 0));
        fails(ENOSPC, map.edit(0..1, |bytes| bytes.fill(b'n')));
        assert_eq!(firsts(&fs), "oo");
        fs.injector().finish().unwrap();
        is_true(&fs);
    }
}

#[test]
fn a_store_into_a_hole_of_a_full_disk_stores_the_pages_that_have_room() {
    let fs = FaultFs::mem();
    let file = fs.create_new("f").unwrap();
    file.set_len(3 * PAGE).unwrap();
    let mut map = file.map_mut().unwrap();
    fs.set_capacity(Capacity { bytes: 2 * PAGE, ..Capacity::UNLIMITED });
    map.write_all_at(b"x", 2 * P).unwrap();
    fails(ENOSPC, map.write_all_at(&[b'y'; 2 * P], 0));
    assert_eq!(firsts(&fs), "y0x");
    map.write_all_at(b"z", 2 * P).unwrap();
    is_true(&fs);
}

#[test]
fn what_is_read_wrong_is_read_wrong_through_a_mapping_too() {
    let fs = FaultFs::mem();
    let (file, mut map) = mapped(&fs, 2 * P);
    map.write_all_at(b"new", 0).unwrap();
    let read = |rule: faultfs::plan::Rule| {
        fs.arm(rule);
        let found = map.read(0..3, |bytes| String::from_utf8_lossy(bytes).into_owned());
        let found = found.map_err(|e| e.raw_os_error());
        fs.injector().finish().unwrap();
        fs.injector().disarm();
        found
    };
    assert_eq!(read(on::load().flip(0)), Ok("oew".into()));
    assert_eq!(read(on::load().stale(Since::Sync)), Ok("ooo".into()));
    assert_eq!(read(on::load().stale(Since::Write)), Ok("ooo".into()));
    assert_eq!(read(on::load().misdirect(Place::at(PAGE))), Ok("ooo".into()));
    assert_eq!(read(on::load().latent(2..3, EIO)), Err(Some(EIO.raw())));
    assert_ne!(read(on::load().garbage(0..3, 1)), Ok("new".into()));
    assert_eq!(map.read(0..3, <[u8]>::to_vec).unwrap(), b"new");
    // At rest.
    file.sync_all().unwrap();
    fs.rot("f", Rot::Flip(1)).unwrap();
    assert_eq!(map.read(0..3, <[u8]>::to_vec).unwrap(), b"lew");
}

#[test]
fn a_power_cut_at_a_store_may_leave_it() {
    for store in [true, false] {
        let fs = FaultFs::mem();
        let (_file, mut map) = mapped(&fs, 2 * P);
        fs.arm(on::store().take(1).crash());
        let stored = match store {
            true => map.write_all_at(b"nn", P - 1),
            false => map.edit(0..2 * P, |bytes| bytes[P - 1..=P].fill(b'n')),
        };
        fails(EIO, stored);
        assert!(fs.is_cut());
        fails(EIO, map.read(0..1, |_| ()));
        fails(EIO, map.flush());
        let trace = fs.trace();
        let last = trace.ops.last().unwrap();
        assert_eq!((last.op.word(), last.end), ("mapped store", None));
        let found = |loss| fs.crash_clone(Profile::POSIX, loss).fs().read("f").unwrap();
        assert_eq!(&found(Loss::Everything)[P - 1..=P], b"oo");
        assert_eq!(&found(Loss::Nothing)[P - 1..=P], b"nn");
    }
}

#[test]
fn the_words_of_plans_are_those_of_the_builder() {
    let text = "map * -> fail ENOMEM; load f at 0..9 take 1 -> latent 0..512 EIO; \
                store * -> fail ENOSPC; msync * at 0..9 -> fail-sync EIO as btrfs";
    let plan = Plan::from([
        on::map().fail(faultfs::errno::ENOMEM),
        on::load().path("f").at(0..9).take(1).latent(0..512, EIO),
        on::store().fail(ENOSPC),
        on::msync().at(0..9).fail_sync(SyncFailure::BTRFS, EIO),
    ]);
    assert_eq!(plan.to_string(), text);
    assert_eq!(text.parse(), Ok(plan));
    assert!("store * -> fail-after EIO".parse::<Plan>().is_err());
    assert!("load * -> short 1".parse::<Plan>().is_err());
}

/// What the table of records does wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Bug {
    /// Nothing: the fixed twin.
    None,
    /// Only the page of the header is synced.
    HeaderAlone,
    /// The record is stored before the header that counts it, and nothing is synced in between.
    StoreOrder,
    /// An `msync` that failed is tried again, and the second one is believed.
    MsyncRetried,
}

/// A file of pages that is written through a mapping: the first counts the records, each of which has a page.
struct Table {
    map: FaultMap<FsMapMut>,
    count: u64,
    bug: Bug,
}

const RECORDS: u64 = 3;

impl Table {
    fn create(fs: &FaultFs, bug: Bug) -> io::Result<Table> {
        let file = fs.create_new("table")?;
        file.set_len((RECORDS + 1) * PAGE)?;
        file.sync_all()?;
        fs.sync_dir(".")?;
        Ok(Table { map: file.map_mut()?, count: 0, bug })
    }

    fn put(&mut self, id: u64) -> io::Result<()> {
        assert_eq!(id, self.count);
        self.count += 1;
        let page = self.count as usize * P;
        self.map.edit(page..page + P, |bytes| bytes.copy_from_slice(&record(id)))?;
        if !matches!(self.bug, Bug::HeaderAlone | Bug::StoreOrder) {
            self.sync(page, P)?;
        }
        self.map.write_all_at(&self.count.to_le_bytes(), 0)?;
        match self.bug {
            Bug::StoreOrder => self.map.flush(),
            _ => self.sync(0, 8),
        }
    }

    fn sync(&self, offset: usize, len: usize) -> io::Result<()> {
        match self.map.flush_range(offset, len) {
            Err(_) if self.bug == Bug::MsyncRetried => self.map.flush_range(offset, len),
            synced => synced,
        }
    }
}

fn record(id: u64) -> [u8; P] {
    [id as u8 + 1; P]
}

fn workload(fs: &FaultFs, bug: Bug) -> Result<(), Broken> {
    let mut table = Table::create(fs, bug)?;
    for id in 0..RECORDS {
        fs.begin(id);
        if let Err(error) = table.put(id) {
            fs.failed(id);
            return Err(error.into());
        }
        fs.ack(id);
    }
    Ok(())
}

/// Reads through a mapping, too.
fn check(fs: &FaultFs, marks: &Marks) -> Result<(), Broken> {
    let lost = |id: u64| Broken::lost(format!("record {id}"));
    let Ok(file) = fs.open("table") else {
        return marks.acked.first().map_or(Ok(()), |id| Err(lost(*id)));
    };
    let map = file.map()?;
    let mut count = [0; 8];
    if map.len() >= P {
        map.read_exact_at(&mut count, 0)?;
    }
    let count = u64::from_le_bytes(count);
    for id in 0..count {
        let page = (id as usize + 1) * P;
        if map.read(page..page + P, |bytes| *bytes != record(id))? {
            let what = format!("record {id} is counted and not there");
            return Err(if marks.acked.contains(&id) { lost(id) } else { Broken::corrupt(what) });
        }
    }
    marks.acked.iter().find(|id| **id >= count).map_or(Ok(()), |id| Err(lost(*id)))
}

/// The verdicts under the main profiles.
fn explored(bug: Bug) -> Vec<Report> {
    explore(move |fs| workload(fs, bug)).profiles(Profile::MAIN).reports(check).unwrap()
}

/// Found where pages reach the disk one by one, and not where everything has an order or nothing is lost.
#[track_caller]
fn is_found(reports: &[Report], verdict: Verdict) {
    for report in reports {
        let shows = |failure: &Failure| {
            let site = failure.losses[0].site.as_ref().expect("the door knows it");
            failure.verdict == verdict
                && failure.losses[0].to_string().contains("mapped store table 4096..8192")
                && site.file.ends_with("maps.rs")
        };
        match report.profile.process_only {
            true => assert_eq!(report.verdict, Verdict::Held, "{report}"),
            false => assert!(report.failures.iter().any(shows), "{report}"),
        }
    }
}

#[test]
fn a_table_that_syncs_records_before_it_counts_them_holds_under_every_profile() {
    for report in explored(Bug::None) {
        assert_eq!(report.verdict, Verdict::Held, "{report}");
    }
}

#[test]
fn a_table_that_syncs_its_header_alone_loses_records() {
    is_found(&explored(Bug::HeaderAlone), Verdict::Lost);
}

#[test]
fn a_table_that_relies_on_the_order_of_its_stores_counts_what_is_not_there() {
    is_found(&explored(Bug::StoreOrder), Verdict::Corrupt);
}

fn swept(bug: Bug) -> Option<Report> {
    let groups =
        Group::ALL.into_iter().filter(|group| ![Group::BitRot, Group::Lost].contains(group));
    sweep(move |fs| workload(fs, bug)).faults(groups).reports(check).unwrap().pop()
}

#[test]
fn a_failed_msync_that_is_retried_and_believed_is_found_by_the_sweep() {
    if let Some(report) = swept(Bug::MsyncRetried) {
        let fault = "msync table take 1 -> fail EIO";
        let shows = |failure: &Failure| {
            failure.verdict == Verdict::Lost && failure.fault.as_deref() == Some(fault)
        };
        assert!(report.failures.iter().any(shows), "{report}");
        assert!(
            !report.to_string().contains("fs/map"),
            "the sites are those of the engine: {report}"
        );
        assert_eq!(report.not_measured, [""; 0], "{report}");
    }
}

#[test]
fn the_table_holds_under_every_single_fault() {
    if let Some(report) = swept(Bug::None) {
        assert_eq!(report.verdict, Verdict::Held, "{report}");
        println!("{report}");
    }
}
