//! The store as a test makes it: its snapshots scan through `faultfs::FaultIter`, in which chosen items
//! go wrong. Nothing in the store or the scheduler knows of it, and fail points may be off.

use std::sync::Arc;

use faultfs::FaultIter;

use crate::engine::{
    Callback, Context, Cursor, Engine, IterOptions, Modify, Result, ScanMode, Snapshot, Value,
};
use crate::raftkv::{RaftKv, RegionIter, RegionSnapshot};

type Scan = FaultIter<RegionIter>;

/// `spoil` says what goes wrong in each scan.
pub(crate) struct Faulty {
    pub(crate) store: Arc<RaftKv>,
    pub(crate) spoil: fn(Scan) -> Scan,
}

impl Engine for Faulty {
    type Snap = FaultySnapshot;

    fn async_write(&self, ctx: &Context, modifies: Vec<Modify>, cb: Callback<()>) -> Result<()> {
        self.store.async_write(ctx, modifies, cb)
    }

    fn async_snapshot(&self, ctx: &Context, cb: Callback<FaultySnapshot>) -> Result<()> {
        let spoil = self.spoil;
        let faulty = move |snapshot| FaultySnapshot { snapshot, spoil };
        self.store.async_snapshot(ctx, Box::new(move |result| cb(result.map(faulty))))
    }
}

pub(crate) struct FaultySnapshot {
    snapshot: RegionSnapshot,
    spoil: fn(Scan) -> Scan,
}

impl Snapshot for FaultySnapshot {
    type Iter = Scan;

    fn get(&self, key: &[u8]) -> Result<Option<Value>> {
        self.snapshot.get(key)
    }

    fn iter(&self, opts: IterOptions, mode: ScanMode) -> Result<Cursor<Scan>> {
        let cursor = self.snapshot.iter(opts, mode)?;
        Ok(Cursor::new((self.spoil)(FaultIter::new(cursor.into_inner()))))
    }
}
