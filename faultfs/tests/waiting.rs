//! Faults that take time: what waits, until when, and what comes before it in the trace. No test here asks
//! that something is done soon.

use std::io;
use std::os::unix::fs::FileExt;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use faultfs::errno::EIO;
use faultfs::plan::on;
use faultfs::trace::Trace;
use faultfs::{FaultFile, FaultFs, Injector};

/// Long enough for whatever does not wait to be done: where it is not, a test passes that should fail, and
/// none fails that should pass.
const A_WHILE: Duration = Duration::from_millis(50);

/// The ops of a trace in words, in the order in which they started.
fn ops(trace: &Trace) -> Vec<String> {
    (0..trace.ops.len()).map(|index| trace.describe(index)).collect()
}

/// Waits until a fault has been decided; what it holds up is held up from then on.
fn until_fired(injector: &Injector) {
    while injector.fired() == 0 {
        thread::yield_now();
    }
}

#[test]
fn a_sync_that_stalls_holds_its_own_caller_until_the_disk_is_healed() {
    let fs = FaultFs::mem();
    let log = fs.create("log").unwrap();
    let other = fs.create("other").unwrap();
    fs.take_trace();
    fs.arm(on::sync().path("log").take(1).stall());
    thread::scope(|scope| {
        let (done, is_done) = mpsc::channel();
        scope.spawn(move || done.send(log.sync_all().map_err(|e| e.raw_os_error())));
        until_fired(fs.injector());
        other.write_all_at(b"meanwhile", 0).unwrap();
        other.sync_all().unwrap();
        assert!(is_done.recv_timeout(A_WHILE).is_err(), "it came back by itself");
        assert_eq!(ops(&fs.trace()), ["write other 0..9", "fsync other"]);
        fs.injector().disarm();
        assert_eq!(is_done.recv(), Ok(Ok(())));
    });
    assert_eq!(ops(&fs.trace()), ["write other 0..9", "fsync other", "fsync log"]);
    assert_eq!(fs.trace().injected.len(), 1);
    fs.injector().finish().unwrap();
}

#[test]
fn a_rename_that_stalls_holds_the_whole_filesystem_as_a_journal_does() {
    let fs = FaultFs::mem();
    fs.write("new", "value").unwrap();
    let log = fs.create("log").unwrap();
    fs.take_trace();
    fs.arm(on::rename().take(1).stall());
    thread::scope(|scope| {
        let (done, is_done) = mpsc::channel();
        let (renamed, written) = (done.clone(), done);
        let renaming = fs.clone();
        scope.spawn(move || {
            renaming.rename("new", "file").unwrap();
            renamed.send("renamed").unwrap();
        });
        until_fired(fs.injector());
        scope.spawn(move || {
            log.write_all_at(b"record", 0).unwrap();
            written.send("written").unwrap();
        });
        assert_eq!(is_done.recv_timeout(A_WHILE), Err(mpsc::RecvTimeoutError::Timeout));
        fs.injector().disarm();
        let mut both = [is_done.recv().unwrap(), is_done.recv().unwrap()];
        both.sort_unstable();
        assert_eq!(both, ["renamed", "written"]);
    });
    assert_eq!(ops(&fs.trace()), ["rename new to file", "write log 0..6"]);
}

#[test]
fn a_delayed_write_comes_after_what_another_thread_does_meanwhile() {
    // Where this thread is kept from the processor for longer than the delay, the next one is longer.
    let orders = (0..6).map(|doubled| {
        let delay = A_WHILE * (1 << doubled);
        let fs = FaultFs::mem();
        let (slow, quick) = (fs.create("slow").unwrap(), fs.create("quick").unwrap());
        fs.take_trace();
        fs.arm(on::write().path("slow").take(1).delay(delay));
        thread::scope(|scope| {
            let waiting = scope.spawn(|| {
                let from = Instant::now();
                slow.write_all_at(b"slow", 0).unwrap();
                from.elapsed()
            });
            until_fired(fs.injector());
            quick.write_all_at(b"quick", 0).unwrap();
            assert!(waiting.join().unwrap() >= delay);
        });
        ops(&fs.trace())
    });
    let mut orders = orders.skip_while(|ops| ops[0] == "write slow 0..4");
    assert_eq!(orders.next().unwrap(), ["write quick 0..5", "write slow 0..4"]);
}

#[test]
fn a_rename_that_is_delayed_comes_before_what_had_to_wait_for_it() {
    let fs = FaultFs::mem();
    fs.write("new", "value").unwrap();
    fs.take_trace();
    fs.arm(on::rename().take(1).delay(A_WHILE));
    thread::scope(|scope| {
        let renaming = fs.clone();
        scope.spawn(move || renaming.rename("new", "file").unwrap());
        until_fired(fs.injector());
        fs.create_dir("later").unwrap();
    });
    assert_eq!(ops(&fs.trace())[0], "rename new to file");
}

#[test]
fn while_one_read_stalls_the_next_is_judged_by_itself() -> io::Result<()> {
    let file = tempfile::NamedTempFile::new()?;
    let injector = Injector::new([on::read().take(1).stall(), on::read().skip(1).fail(EIO)]);
    let file = FaultFile::armed(file.reopen()?, &injector, "file");
    thread::scope(|scope| {
        let first = scope.spawn(|| file.read_at(&mut [0], 0));
        until_fired(&injector);
        assert_eq!(file.read_at(&mut [0], 0).unwrap_err().raw_os_error(), Some(EIO.raw()));
        assert!(!first.is_finished());
        injector.disarm();
        assert_eq!(first.join().unwrap()?, 0);
        Ok(())
    })
}
