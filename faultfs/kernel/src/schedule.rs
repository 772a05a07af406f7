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
    /// Schedules for a program, in a fixed order: nothing, one thing after one op, then two things.
    pub(crate) fn all(trace: &Trace) -> Vec<Schedule> {
        let last = trace.replay();
        let is_file = |ino: &Ino| trace.base.content(*ino).or(last.content(*ino)).is_some();
        let inos: Vec<Ino> = (1..64).map(Ino).filter(is_file).collect();
        let forces: Vec<Force> = inos
            .iter()
            .map(|ino| Force::Data(*ino))
            .chain([Force::Commit, Force::Sync, Force::Blocks])
            .collect();
        let ops = trace.ops.len();
        let single = (0..ops).rev().flat_map(|op| forces.iter().map(move |f| (op, *f)));
        let single: Vec<(usize, Force)> = single.collect();
        let mut all = vec![Schedule::default()];
        all.extend(single.iter().map(|one| Schedule(vec![*one])));
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
            "wait" => Force::Wait,
            _ => {
                let ino = text.strip_prefix("data").and_then(|ino| ino.parse().ok());
                Force::Data(Ino(ino.ok_or_else(|| {
                    format!("`{text}` is none of dataN, commit, blocks, sync, wait")
                })?))
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
        for bad in ["", "1", "x:sync", "1:flush", "1:data"] {
            assert!(bad.parse::<Schedule>().is_err(), "{bad}");
        }
    }
}
