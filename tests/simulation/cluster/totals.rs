use super::super::seeds::Sum;

macro_rules! counts {
    ($($name:ident)*) => {
        /// What has happened in the clusters of all seeds.
        #[derive(Debug, Default)]
        pub struct ClusterTotals { $(pub $name: u64,)* }

        impl Sum for ClusterTotals {
            fn sum(&mut self, other: &Self) {
                $(self.$name += other.$name;)*
            }
        }
    };
}

counts! {
    appended sent unavailable unknown locked too_large acts holes gaps fresh_starts crashes
    streams shortened steps late_records bad_records alone divergences away
}
