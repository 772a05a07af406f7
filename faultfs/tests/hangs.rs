//! A recovery that hangs on many disks: of those that lose alike few are waited for, the others are counted, and
//! what else is wrong is still found.

use std::thread::sleep;
use std::time::Duration;

use faultfs::report::Report;
use faultfs::sweep::Group;
use faultfs::trace::Marks;
use faultfs::verdict::{Broken, Verdict};
use faultfs::{FaultFs, explore, sweep};

/// A log, whose entry is never made durable, and an index, which is written anew for each record and synced
/// nowhere.
fn workload(fs: &FaultFs) -> Result<(), Broken> {
    fs.write("log", "")?;
    for id in 0..4u8 {
        fs.begin(id.into());
        fs.write("index", [id + 1; 600])?;
        fs.write("log", vec![7; id as usize + 1])?;
        fs.open("log")?.sync_all()?;
        fs.ack(id.into());
    }
    Ok(())
}

/// With the bug a recovery waits for ever for an index that is not whole.
fn check(fs: &FaultFs, marks: &Marks, fixed: bool) -> Result<(), Broken> {
    let index = fs.read("index").unwrap_or_default();
    while !fixed && fs.exists("index")? && (index.len() < 600 || index.contains(&0)) {
        sleep(Duration::from_secs(1));
    }
    let records = fs.read("log").unwrap_or_default().len();
    match marks.acked.len() > records {
        true => Err(Broken::lost(format!("{records} records"))),
        false => Ok(()),
    }
}

fn report(hangs: u32, workers: u32, fixed: bool) -> Option<Report> {
    let run =
        explore(workload).named("hangs").hangs(hangs).workers(workers).samples(0).omissions(1);
    let run = run.time_limit(Duration::from_millis(300));
    run.reports(move |fs, marks| check(fs, marks, fixed)).unwrap().pop()
}

#[test]
fn of_those_that_lose_alike_few_are_waited_for_and_the_rest_is_counted() {
    let (few, all) = (report(1, 2, false), report(u32::MAX, 2, false));
    let (Some(few), Some(all)) = (few, all) else { return };
    let verdicts = |report: &Report| -> Vec<Verdict> {
        let mut of: Vec<_> = report.failures.iter().map(|failure| failure.verdict).collect();
        of.dedup();
        of
    };
    assert_eq!(verdicts(&all), [Verdict::Lost, Verdict::Hung], "{all}");
    assert_eq!(verdicts(&few), [Verdict::Lost, Verdict::Hung], "{few}");
    assert_eq!(all.not_measured, [""; 0], "{all}");
    let hung = |report: &Report| -> u64 {
        let hung = report.failures.iter().filter(|failure| failure.verdict == Verdict::Hung);
        hung.map(|failure| failure.count).sum()
    };
    assert!(hung(&few) <= 8 && hung(&all) > 40, "{few}\n{all}");
    let left_out = all.distinct - few.distinct;
    let words =
        format!("{left_out} states left out: 1 that are like each of them hung, or 8 of all");
    assert!(left_out > 0 && few.not_measured[0].starts_with(&words), "{few}");
    let covered = |report: &Report| report.coverage.iter().all(|part| part.checked == part.listed);
    assert!(covered(&all) && !covered(&few), "what was left out was not covered: {few}");
}

#[test]
fn which_are_left_out_depends_on_no_worker() {
    let (one, three) = (report(1, 1, false), report(1, 3, false));
    assert_eq!(one, three);
}

#[test]
fn an_engine_that_does_not_hang_leaves_nothing_out() {
    let Some(report) = report(1, 2, true) else { return };
    assert_eq!(report.not_measured, [""; 0], "{report}");
    assert!(report.failures.iter().all(|failure| failure.verdict == Verdict::Lost), "{report}");
}

/// A run that hangs costs more than a check; with every fault it would take for ever.
#[test]
fn of_faults_that_strike_alike_few_hangs_are_waited_for() {
    let run = |count| {
        let run = sweep(|fs| {
            for id in 0..3 {
                while fs.write(format!("file{id}"), "x").is_err() {
                    sleep(Duration::from_millis(5));
                }
            }
            fs.create_dir("dir").map_err(|_| Broken::lost("no folder"))
        });
        let run = run.named("hangs").faults([Group::NoSpace]).hangs(count);
        let run = run.time_limit(Duration::from_millis(50));
        run.reports(|_, _| Ok(())).unwrap().pop()
    };
    let (few, all) = (run(1), run(u32::MAX));
    let (Some(few), Some(all)) = (few, all) else { return };
    let cases = |report: &Report| report.swept.as_ref().unwrap().cases["nospace"];
    let left_out = cases(&all) - cases(&few);
    let words =
        format!("{left_out} cases left out: 1 that are like each of them hung, or 8 of all");
    assert!(left_out > 10 && few.not_measured[0].starts_with(&words), "{few}\n{all}");
    assert_eq!(all.not_measured, [""; 0], "{all}");
    for report in [&few, &all] {
        let verdicts: Vec<_> = report.failures.iter().map(|failure| failure.verdict).collect();
        assert!(verdicts.contains(&Verdict::Lost) && verdicts.contains(&Verdict::Hung), "{report}");
    }
}
