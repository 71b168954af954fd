//! The paths at which a pool answers itself (`status_path`, `ping_path`): every server lets this machine alone ask there.

use contract::settings::Settings;
use settings::values::Mount;

use super::text::Text;
use super::value::{Value, regex};
use super::{Site, WriterError};

/// Who may ask.
pub const ADDRESSES: [&str; 2] = ["127.0.0.1", "::1"];

/// Those that the web server passes on to the pool. What servers pass on is the whole path of the URL, mount and all, and it is
/// for exactly one of these that the pool answers itself.
///
/// # Errors
/// As [`Value::new`].
pub fn paths(settings: &Settings) -> Result<Vec<Value>, WriterError> {
    let mount = settings.mount.as_ref().map_or("", Mount::as_str);
    let mut paths: Vec<Value> = Vec::new();
    for setting in [&settings.status_path, &settings.ping_path] {
        let Some(path) = setting.as_ref().map(|path| path.as_str()) else {
            continue;
        };
        let is_passed_on = path
            .strip_prefix(mount)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        if is_passed_on && paths.iter().all(|other| other.as_str() != path) {
            paths.push(Value::new(setting.name(), path)?);
        }
    }
    Ok(paths)
}

/// `client`: how this server learns of the client's address.
pub fn comment(text: &mut Text, site: &Site, client: &str) {
    let options: Vec<_> = site.own_pages.iter().map(Value::what).collect();
    text.comment(format_args!(
        "{}: whoever may ask sees which paths are asked for. Add addresses that may; behind another proxy the address has to be \
         the client's ({client}).",
        options.join(", ")
    ));
}

/// An expression for the paths, and nothing but them.
pub fn pattern(site: &Site) -> Value {
    let paths: Vec<_> = site.own_pages.iter().map(|path| regex(path.as_str())).collect();
    site.own_pages[0].with(format!("^({})$", paths.join("|")))
}
