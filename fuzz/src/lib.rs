//! What the fuzz targets check is what the codec's tests replay on stable toolchains, so it lives with those tests.

#[path = "../../crates/fastcgi/tests/support/feed.rs"]
pub mod feed;
#[path = "../../crates/fastcgi/tests/support/oracle.rs"]
pub mod oracle;
