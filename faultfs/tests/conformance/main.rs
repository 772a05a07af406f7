//! One filesystem in three forms: `FaultFs` in memory, `FaultFs` on a folder, and std on a bare folder.
//! Whatever is asked of them, they must answer the same, errors included; and what the record says must
//! be what is there.

mod ask;
mod bare;
mod faults;
mod maps;
mod random;
mod random_faults;
mod script;
mod table;
mod words;
mod world;
