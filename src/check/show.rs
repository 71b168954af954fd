//! `wsgi-fpm check --show`: what holds, in the form of the file.

use anyhow::bail;
use settings::show;
use settings::values::PoolName;

use crate::config::pools::Configuration;
use crate::config::{is_of_pools, is_of_server};
use crate::stdout;

/// Prints what holds for `pool`, or for the server and all pools.
///
/// # Errors
/// There is no such pool, or standard output is closed.
pub fn show(configuration: &Configuration, pool: Option<&PoolName>) -> anyhow::Result<()> {
    let mut tables = Vec::new();
    if pool.is_none() {
        tables.push(show::table("server", &configuration.server, is_of_server));
    }
    for (name, definition) in &configuration.pools {
        if pool.is_none_or(|wanted| wanted == name) {
            let table = format!("pool.{}", show::key(name.as_str()));
            tables.push(show::table(&table, &definition.layers(), is_of_pools));
        }
    }
    if let (Some(pool), true) = (pool, tables.is_empty()) {
        let names: Vec<_> = configuration.pools.keys().map(PoolName::as_str).collect();
        bail!("--show {pool}: the file has no such pool; it has {}", names.join(", "));
    }
    stdout::write(tables.join("\n").as_bytes())
}
