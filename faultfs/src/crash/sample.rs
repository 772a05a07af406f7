//! States with any number of omissions and torn pages, drawn by a seed.

use std::collections::{BTreeMap, BTreeSet};

use fastrand::Rng;

use super::tape::{Choice, Tape};
use super::ways::Way;
use super::window::{Places, Window};
use crate::model::Moment;

/// Draws a legal tape. How much is lost differs from draw to draw, so that nearly whole and nearly empty
/// disks are as likely as those in between.
///
/// Every set of losses may be drawn from a window of up to twice [`RUNS`] micro-ops; of a longer one those
/// of at most so many runs of neighbours, so that tokens stay short. At most [`SPOILT`] pages are torn or
/// stale.
pub(crate) fn draw(window: &Window<'_>, moment: &Moment, random: &mut Rng) -> Drawn {
    let chosen = match window.len() {
        len if len <= 2 * RUNS => {
            let eighths = *random.choice(&[0, 1, 4, 7, 8]).expect("there are some");
            (0..len).filter(|_| random.u8(0..8) < eighths).collect()
        }
        len => runs(len, random),
    };
    let lost = window.closed(moment, chosen.iter().copied());
    let mut pages: Vec<usize> = lost.ones().collect();
    random.shuffle(&mut pages);
    let drawn = random.usize(0..=SPOILT);
    let spoilt = pages
        .into_iter()
        .filter_map(|place| Some((place, window.spoilt(moment, place, &lost, random)?)));
    // In the order in which they were written.
    let spoilt: BTreeMap<usize, Way> = spoilt.take(drawn).collect();
    let choices = words(&moment.window, &chosen);
    Drawn { choices, lost, spoilt: spoilt.into_values().collect() }
}

/// What was drawn.
pub(crate) struct Drawn {
    choices: Vec<Choice>,
    pub(crate) lost: Places,
    /// The torn and stale pages.
    pub(crate) spoilt: Vec<Way>,
}

impl Drawn {
    pub(crate) fn tape(&self) -> Tape {
        let spoilt = self.spoilt.iter().map(|way| way.choice);
        Tape(self.choices.iter().copied().chain(spoilt).collect())
    }
}

/// Runs of neighbours that one draw loses.
const RUNS: usize = 16;

/// Pages that one draw spoils.
const SPOILT: usize = 3;

/// A few runs of any length, from one micro-op to nearly all.
fn runs(len: usize, random: &mut Rng) -> BTreeSet<usize> {
    let mut chosen = BTreeSet::new();
    for _ in 0..random.usize(0..=RUNS) {
        let longest = 1 << random.u32(0..=len.ilog2());
        let from = random.usize(0..len);
        chosen.extend(from..len.min(from + random.usize(1..=longest)));
    }
    chosen
}

/// The micro-ops at these places of the window in as few choices as there are runs.
pub(super) fn words(window: &[u32], chosen: &BTreeSet<usize>) -> Vec<Choice> {
    let mut words: Vec<Choice> = Vec::new();
    let mut last = None;
    for &index in chosen {
        let id = window[index];
        match words.last_mut() {
            Some(Choice::LoseRange { to, .. }) if last == index.checked_sub(1) => *to = id,
            _ => words.push(Choice::LoseRange { from: id, to: id }),
        }
        last = Some(index);
    }
    for word in &mut words {
        match *word {
            Choice::LoseRange { from, to } if from == to => *word = Choice::Lose(from),
            _ => {}
        }
    }
    words
}
