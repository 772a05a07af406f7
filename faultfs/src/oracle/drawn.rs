//! How workloads are drawn and made smaller.

#[cfg(feature = "proptest")]
pub use with_proptest::Steps;

/// Keys of drawn batches, and changes in one.
const KEYS: u8 = 4;
const CHANGES: usize = 3;
/// Bytes of a drawn record, and of a drawn value.
const RECORD: u16 = 9_000;
const VALUE: u16 = 2_000;

#[cfg(feature = "proptest")]
mod with_proptest {
    use proptest::collection::{SizeRange, vec};
    use proptest::option;
    use proptest::prelude::*;

    use super::{CHANGES, KEYS, RECORD, VALUE};
    use crate::oracle::{Batch, Length, Step, Workload};

    impl<T: Arbitrary + Clone + 'static> Arbitrary for Workload<T> {
        /// How many steps: `any_with::<Batches>((0..20).into())`.
        type Parameters = Steps;
        type Strategy = BoxedStrategy<Workload<T>>;

        fn arbitrary_with(Steps(count): Steps) -> Self::Strategy {
            let step = prop_oneof![
                4 => any::<T>().prop_map(Step::Do),
                1 => Just(Step::Restart),
                1 => Just(Step::Tidy),
            ];
            vec(step, count).prop_map(Workload).boxed()
        }
    }

    /// How many steps are drawn. Default: 0 to 8.
    #[derive(Clone, Debug)]
    pub struct Steps(SizeRange);

    impl Default for Steps {
        fn default() -> Steps {
            Steps((0..=8).into())
        }
    }

    impl<R: Into<SizeRange>> From<R> for Steps {
        fn from(count: R) -> Steps {
            Steps(count.into())
        }
    }

    impl Arbitrary for Batch {
        type Parameters = ();
        type Strategy = BoxedStrategy<Batch>;

        fn arbitrary_with((): ()) -> Self::Strategy {
            let change = (0..KEYS, option::weighted(0.75, 1..=VALUE));
            vec(change, 1..=CHANGES).prop_map(Batch).boxed()
        }
    }

    impl Arbitrary for Length {
        type Parameters = ();
        type Strategy = BoxedStrategy<Length>;

        fn arbitrary_with((): ()) -> Self::Strategy {
            (1..=RECORD).prop_map(Length).boxed()
        }
    }
}

#[cfg(feature = "arbitrary")]
mod with_arbitrary {
    use arbitrary::{Arbitrary, Result, Unstructured};

    use super::{CHANGES, KEYS, RECORD, VALUE};
    use crate::oracle::{Batch, Length, Step, Workload};

    impl<'a, T: Arbitrary<'a>> Arbitrary<'a> for Workload<T> {
        fn arbitrary(bytes: &mut Unstructured<'a>) -> Result<Self> {
            bytes.arbitrary_iter()?.collect::<Result<_>>().map(Workload)
        }

        fn arbitrary_take_rest(bytes: Unstructured<'a>) -> Result<Self> {
            bytes.arbitrary_take_rest_iter()?.collect::<Result<_>>().map(Workload)
        }
    }

    impl<'a, T: Arbitrary<'a>> Arbitrary<'a> for Step<T> {
        fn arbitrary(bytes: &mut Unstructured<'a>) -> Result<Self> {
            Ok(match bytes.int_in_range(0..=5)? {
                4 => Step::Restart,
                5 => Step::Tidy,
                _ => Step::Do(bytes.arbitrary()?),
            })
        }
    }

    impl<'a> Arbitrary<'a> for Batch {
        fn arbitrary(bytes: &mut Unstructured<'a>) -> Result<Self> {
            let change = |bytes: &mut Unstructured<'a>| {
                let key = bytes.int_in_range(0..=KEYS - 1)?;
                // None is the rarer one, and what bytes of zero are not.
                let removed = bytes.ratio(1, 4)?;
                Ok((key, if removed { None } else { Some(bytes.int_in_range(1..=VALUE)?) }))
            };
            let count = bytes.int_in_range(1..=CHANGES)?;
            (0..count).map(|_| change(bytes)).collect::<Result<_>>().map(Batch)
        }
    }

    impl<'a> Arbitrary<'a> for Length {
        fn arbitrary(bytes: &mut Unstructured<'a>) -> Result<Self> {
            bytes.int_in_range(1..=RECORD).map(Length)
        }
    }
}
