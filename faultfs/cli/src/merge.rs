//! `merge`: the shares of a torture become the report of the whole.

use std::sync::Arc;

use faultfs::explore::{Shards, Work};

use crate::args::Merge;
use crate::exit::Trouble;
use crate::target::Target;
use crate::torture::{Job, run_all};

/// Confirms what the shares found and looks at a sample of what they held, as any run does, so that the
/// report is the same, and prints it.
pub(crate) fn run(args: &Merge) -> Result<u8, Trouble> {
    let mut jobs = Vec::new();
    for shards in Shards::load(&args.files).map_err(Trouble::usage)? {
        jobs.push(Job {
            target: Target::of_subject(&shards.trace().subject).map_err(Trouble::usage)?,
            profiles: shards.profiles().map_err(Trouble::usage)?,
            bound: shards.bound(),
            workers: args.jobs,
            time_limit: args.time_limit,
            memory_limit: args.memory_limit,
            real_files: false,
            prune: true,
            recovery_depth: shards.recovery_depth(),
            recovery_faults: shards.recovery_faults().clone(),
            work: Work::Merge(Arc::new(shards)),
        });
    }
    jobs.sort_by_key(|job| job.target.place());
    run_all(jobs, &args.output)
}
