//! What is written for the pools of a configuration file.

use std::path::Path;

use settings::Said;
use settings::sections::App;
use settings::values::PoolName;

use super::command::Command;
use super::servers::Servers;
use super::systemd::{self, FileUnit};
use super::value::Value;
use super::{Site, WriterError, accounts, program, served};
use crate::cli::{SiteOptions, WebServer};
use crate::config::pools;

/// Writes for the pool that was typed, or for all.
///
/// # Errors
/// The file has a mistake, there is no such pool, or this server's configuration can't be written for a file.
pub fn write(server: WebServer, file: &Path, typed: &[Said], options: &SiteOptions) -> anyhow::Result<String> {
    if let Some(said) = typed.iter().find(|said| said.option.key != App::app().key) {
        return Err(WriterError::BesideAFile(said.place.name(said.option)).into());
    }
    if server == WebServer::ApacheFcgid {
        return Err(WriterError::NotOfAFile.into());
    }
    let wanted = typed.first().and_then(|said| said.values.first());
    let wanted = wanted.map(|name| name.to_string_lossy());
    let configuration = pools::load(file)?;
    let control = configuration.status().control.into_value();
    let mut pools = configuration.pools;
    let names = pools.keys().map(PoolName::as_str).collect::<Vec<_>>().join(", ");
    if let Some(wanted) = &wanted {
        pools.retain(|name, _| name.as_str() == wanted);
        if pools.is_empty() {
            return Err(WriterError::NoPool(wanted.to_string(), names).into());
        }
    }
    let mut sites = Vec::new();
    for definition in pools.values() {
        let site = Site::new(&definition.elsewhere()?, options.clone(), accounts(&[])?)?;
        site.check_port(server)?;
        sites.push(site);
    }
    if server == WebServer::Systemd {
        if wanted.is_some() {
            return Err(WriterError::WholeFile.into());
        }
        let unit = FileUnit {
            program: &program(options.program.as_deref())?,
            file: &Value::path("--config", &super::absolute(file)?)?,
            pools: sites.iter().zip(pools.values()).collect(),
            control,
        };
        return Ok(systemd::write_for_file(&unit)?.to_string());
    }
    let command = Command::of_file(file)?;
    Ok(served(server, &Servers::new(&sites)?, &command)?.to_string())
}
