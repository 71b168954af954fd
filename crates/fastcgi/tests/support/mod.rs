//! Shared by the codec's tests; `feed` and `oracle` by the fuzz targets too.

pub mod feed;
pub mod oracle;
pub mod random;
