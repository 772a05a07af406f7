//! A store behind a log: one thread, the leading peer, applies what is proposed, in order.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use faultpoint::{Scope, fail_point, fault_point};

use crate::engine::{
    Callback, Context, Cursor, Engine, Error, IterOptions, Key, Modify, Result, ScanMode, Snapshot,
    Value,
};

/// Under which this peer leads.
pub(crate) const TERM: u64 = 1;

type Data = BTreeMap<Key, Value>;

/// The replicated store, as its clients hold it.
pub(crate) struct RaftKv {
    router: Mutex<Option<Sender<Proposal>>>,
    peer: Option<JoinHandle<()>>,
}

enum Proposal {
    Write { modifies: Vec<Modify>, cb: Callback<()> },
    Snapshot { cb: Callback<RegionSnapshot> },
}

impl RaftKv {
    pub(crate) fn open() -> RaftKv {
        let (router, proposals) = channel();
        // The peer belongs to whoever opened the store: a test that began a scenario, say.
        let peer = Scope::current().spawn(move || lead(&proposals));
        RaftKv { router: Mutex::new(Some(router)), peer: Some(peer) }
    }

    fn propose(&self, ctx: &Context, proposal: Proposal) -> Result<()> {
        if ctx.term != TERM {
            return Err(Error::NotLeader);
        }
        let router = self.router.lock().unwrap();
        let sent = router.as_ref().map(|router| router.send(proposal));
        sent.and_then(|sent| sent.ok()).ok_or(Error::NotLeader)
    }
}

impl Engine for RaftKv {
    type Snap = RegionSnapshot;

    fn async_write(&self, ctx: &Context, modifies: Vec<Modify>, cb: Callback<()>) -> Result<()> {
        fail_point!("raftkv_async_write", |reason| Err(Error::injected(reason.as_deref())));
        self.propose(ctx, Proposal::Write { modifies, cb })
    }

    fn async_snapshot(&self, ctx: &Context, cb: Callback<RegionSnapshot>) -> Result<()> {
        self.propose(ctx, Proposal::Snapshot { cb })
    }
}

impl Drop for RaftKv {
    fn drop(&mut self) {
        *self.router.lock().unwrap() = None;
        if let Some(peer) = self.peer.take() {
            // A peer that panicked has told so itself.
            let _ = peer.join();
        }
    }
}

fn lead(proposals: &Receiver<Proposal>) {
    let mut data = Arc::new(Data::new());
    for proposal in proposals {
        match proposal {
            Proposal::Snapshot { cb } => cb(Ok(RegionSnapshot { data: Arc::clone(&data) })),
            Proposal::Write { modifies, cb } => finish_write(&mut data, modifies, cb),
        }
    }
}

fn finish_write(data: &mut Arc<Data>, modifies: Vec<Modify>, cb: Callback<()>) {
    // `return(lost)`: the answer is lost after the write was applied.
    // Any other return: a new leader has replaced the proposal.
    let outcome = fault_point!("raftkv_async_write_finish", |arg| arg.text() == Some("lost"));
    let is_lost = outcome == Err(true);
    if outcome == Err(false) {
        return cb(Err(Error::Stale));
    }
    let data = Arc::make_mut(data);
    for modify in modifies {
        match modify {
            Modify::Put(key, value) => drop(data.insert(key, value)),
            Modify::Delete(key) => drop(data.remove(&key)),
        }
    }
    if !is_lost {
        cb(Ok(()));
    }
}

/// The store as it was at one moment.
#[derive(Debug)]
pub(crate) struct RegionSnapshot {
    data: Arc<Data>,
}

impl Snapshot for RegionSnapshot {
    type Iter = RegionIter;

    fn get(&self, key: &[u8]) -> Result<Option<Value>> {
        fail_point!("raftkv_snapshot_get", |reason| Err(Error::injected(reason.as_deref())));
        Ok(self.data.get(key).cloned())
    }

    fn iter(&self, opts: IterOptions, mode: ScanMode) -> Result<Cursor<RegionIter>> {
        fail_point!("raftkv_snapshot_iter", |reason| Err(Error::injected(reason.as_deref())));
        let range = self.data.range(opts.lower_bound..);
        let mut pairs: Vec<_> = range.map(|(key, value)| (key.clone(), value.clone())).collect();
        if mode == ScanMode::Forward {
            pairs.reverse();
        }
        Ok(Cursor::new(RegionIter { pairs }))
    }
}

pub(crate) struct RegionIter {
    /// What is left, the next one last.
    pairs: Vec<(Key, Value)>,
}

impl Iterator for RegionIter {
    type Item = Result<(Key, Value)>;

    fn next(&mut self) -> Option<Self::Item> {
        let pair = self.pairs.pop()?;
        let read = fault_point!("raftkv_snapshot_iter_next", |arg| Error::injected(arg.text()));
        Some(read.map(|()| pair))
    }
}
