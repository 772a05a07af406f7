//! Seeded draws. A draw is a function of the seed, the point's name, which pass it is and which
//! action asks: no state, so other threads at other points change nothing.

/// The seed of one point's draws in a scope with this seed.
pub(crate) fn point_seed(seed: u64, name: &str) -> u64 {
    // FNV-1a: stable, and the mixing below makes up for its weak high bits.
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    mix(seed ^ mix(hash))
}

/// A number drawn evenly from all of `u64`.
pub(crate) fn draw(point_seed: u64, pass: u64, action: usize) -> u64 {
    mix(mix(point_seed ^ pass).wrapping_add(action as u64))
}

/// The output function of SplitMix64 (Steele, Lea, Flood 2014).
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::action::Chance;

    #[test]
    fn a_seed_decides_the_same_on_every_machine_and_in_every_version() {
        assert_eq!(mix(0), 0xe220_a839_7b1d_cdaf, "the first output of SplitMix64 for seed 0");
        let quarter = Chance::new(1, 4);
        let seed = point_seed(7, "raftkv_async_write");
        let fired: Vec<u64> =
            (1..=40).filter(|pass| quarter.includes(draw(seed, *pass, 0))).collect();
        assert_eq!(fired, [1, 2, 9, 15, 20, 23, 26, 30, 31, 40]);
    }

    #[test]
    fn points_seeds_and_actions_draw_independently() {
        let half = Chance::new(1, 2);
        let schedule = |seed, action| -> Vec<bool> {
            (1..=256).map(|pass| half.includes(draw(seed, pass, action))).collect()
        };
        let all = [
            schedule(point_seed(1, "a"), 0),
            schedule(point_seed(1, "a"), 1),
            schedule(point_seed(1, "b"), 0),
            schedule(point_seed(2, "a"), 0),
        ];
        for (i, left) in all.iter().enumerate() {
            let fired = left.iter().filter(|fires| **fires).count();
            assert!((96..=160).contains(&fired), "{fired} of 256 at one half");
            for right in &all[..i] {
                let same = left.iter().zip(right).filter(|(l, r)| l == r).count();
                assert!((96..=160).contains(&same), "{same} of 256 alike");
            }
        }
    }
}
