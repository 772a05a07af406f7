//! What a profile allows at each place of a program, as texts.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use faultfs::Profile;
use faultfs::crash::litmus;
use faultfs::model::Model;
use faultfs::trace::Trace;

use crate::look::Sectors;

/// Windows with more changes have too many disks to list.
const MICROS_MAX: usize = 12;

/// The disks that a profile allows, by the stamp of the power cut.
pub(crate) struct Legal {
    pub(crate) profile: Profile,
    /// `None` where there are too many to list.
    at: BTreeMap<u64, Option<BTreeSet<String>>>,
}

impl Legal {
    pub(crate) fn of(trace: &Arc<Trace>, sectors: &Sectors, profile: Profile) -> Legal {
        let model = Model::new(trace.clone(), profile);
        let texts = |disks: Vec<_>| disks.iter().map(|disk| sectors.text(disk)).collect();
        let at = litmus::legal(&model, MICROS_MAX).map(|(stamp, disks)| (stamp, disks.map(texts)));
        Legal { profile, at: at.collect() }
    }

    /// The first of these stamps at which the profile does not allow what was found.
    pub(crate) fn forbids(&self, found: &str, stamps: &BTreeSet<u64>) -> Option<u64> {
        let forbids = |stamp: &u64| {
            let texts = self.at.get(stamp).expect("every stamp of the run has its disks");
            texts.as_ref().is_some_and(|texts| !texts.contains(found))
        };
        stamps.iter().copied().find(forbids)
    }

    /// What is allowed after the last op; `None` where there is too much to list.
    pub(crate) fn last(&self) -> Option<&BTreeSet<String>> {
        self.at.last_key_value().and_then(|(_, texts)| texts.as_ref())
    }

    /// The last stamp.
    pub(crate) fn end(&self) -> u64 {
        self.at.last_key_value().map_or(0, |(stamp, _)| *stamp)
    }
}
