//! What the kernel is made to write back, and when: writeback that memory pressure, timers and other
//! processes could have started at that place.

use std::fmt;
use std::str::FromStr;

use faultfs::op::Ino;
use faultfs::trace::Trace;

/// Something that makes the kernel write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Force {
    /// The dirty pages of one file, and nothing else.
    Data(Ino),
    /// As `Data`, and not waited for.
    Start(Ino),
    /// The device becomes slow to take the program's data, and takes all else at once: until somebody waits for
    /// it.
    Slow,
    /// The journal: another file, which the program does not know, is changed and synced.
    Commit,
    /// The block device's own pages: metadata, where no journal holds them back.
    Blocks,
    /// Everything.
    Sync,
    /// The kernel's own timers, which are set to one second where the filesystem lets them.
    Wait,
}

/// What is forced after which op. Written as `1:data2,3:commit`; `-` forces nothing.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Schedule(pub(crate) Vec<(usize, Force)>);

impl Schedule {
    /// Schedules for a program, in a fixed order: nothing, one thing after one op, a journal that is committed
    /// while data is under way, then any two things.
    pub(crate) fn all(trace: &Trace) -> Vec<Schedule> {
        let last = trace.replay();
        let is_file = |ino: &Ino| trace.base.content(*ino).or(last.content(*ino)).is_some();
        let inos: Vec<Ino> = (1..64).map(Ino).filter(is_file).collect();
        let forces: Vec<Force> = inos
            .iter()
            .map(|ino| Force::Data(*ino))
            .chain([Force::Commit, Force::Sync, Force::Slow, Force::Blocks])
            .collect();
        let ops = trace.ops.len();
        let single = (0..ops).rev().flat_map(|op| forces.iter().map(move |f| (op, *f)));
        let single: Vec<(usize, Force)> = single.collect();
        let mut all = vec![Schedule::default()];
        all.extend(single.iter().map(|one| Schedule(vec![*one])));
        for op in (0..ops).rev() {
            let under_way =
                |ino| vec![(op, Force::Slow), (op, Force::Start(ino)), (op, Force::Commit)];
            all.extend(inos.iter().map(|ino| Schedule(under_way(*ino))));
        }
        for (i, first) in single.iter().enumerate() {
            for (j, second) in single.iter().enumerate() {
                // After one op in either order, else in the order of the ops; twice the same is once.
                let ordered = first.0 < second.0 || (first.0 == second.0 && i != j);
                if ordered && first.1 != second.1 {
                    all.push(Schedule(vec![*first, *second]));
                }
            }
        }
        all
    }

    /// What comes after this op.
    pub(crate) fn after(&self, op: usize) -> impl Iterator<Item = Force> + '_ {
        self.0.iter().filter(move |(at, _)| *at == op).map(|(_, force)| *force)
    }
}

impl fmt::Display for Force {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Force::Data(ino) => write!(f, "data{}", ino.0),
            Force::Start(ino) => write!(f, "start{}", ino.0),
            Force::Slow => f.write_str("slow"),
            Force::Commit => f.write_str("commit"),
            Force::Blocks => f.write_str("blocks"),
            Force::Sync => f.write_str("sync"),
            Force::Wait => f.write_str("wait"),
        }
    }
}

impl FromStr for Force {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text {
            "commit" => Force::Commit,
            "blocks" => Force::Blocks,
            "sync" => Force::Sync,
            "slow" => Force::Slow,
            "wait" => Force::Wait,
            _ => {
                let of = |word| Some(Ino(text.strip_prefix(word)?.parse().ok()?));
                let data = of("data").map(Force::Data).or(of("start").map(Force::Start));
                data.ok_or_else(|| {
                    format!("`{text}` is none of dataN, startN, commit, blocks, sync, slow, wait")
                })?
            }
        })
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("-");
        }
        let parts: Vec<String> = self.0.iter().map(|(op, force)| format!("{op}:{force}")).collect();
        f.write_str(&parts.join(","))
    }
}

impl FromStr for Schedule {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        if text == "-" {
            return Ok(Schedule::default());
        }
        let part = |part: &str| {
            let (op, force) = part.split_once(':').ok_or(format!("`{part}` is not OP:FORCE"))?;
            let op = op.parse().map_err(|_| format!("`{op}` is no number of an op"))?;
            Ok((op, force.parse()?))
        };
        text.split(',').map(part).collect::<Result<_, String>>().map(Schedule)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use faultfs::crash::litmus;

    #[test]
    fn schedules_parse_as_they_print() {
        let (_, trace) = litmus::programs().find(|(name, _)| name.starts_with("p07")).unwrap();
        let all = Schedule::all(&trace);
        assert_eq!(all[0].to_string(), "-");
        assert_eq!(all[1].to_string(), "2:data1");
        for schedule in &all {
            assert_eq!(schedule.to_string().parse().as_ref(), Ok(schedule));
        }
        assert!(all.iter().any(|schedule| schedule.to_string() == "1:slow,1:start2,1:commit"));
        for bad in ["", "1", "x:sync", "1:flush", "1:data"] {
            assert!(bad.parse::<Schedule>().is_err(), "{bad}");
        }
    }
}
