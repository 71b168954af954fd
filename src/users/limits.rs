//! Resource limits: their names, and which of them this process may set.

use nix::unistd::Uid;
use rustix::process::{Resource, getrlimit};
use settings::values::ResourceLimit;

use super::UserError;

/// Who is not root may lower hard limits alone.
///
/// # Errors
/// It is not root, and this one is higher.
pub fn check_limit(name: &str, limit: &ResourceLimit) -> Result<(), UserError> {
    let hard = resource(&limit.resource).and_then(|resource| getrlimit(resource).maximum);
    match hard {
        Some(hard) if limit.value.is_none_or(|value| value > hard) && !Uid::effective().is_root() => {
            Err(UserError::OverHard {
                name: name.to_owned(),
                limit: limit.to_string(),
                hard,
            })
        }
        _ => Ok(()),
    }
}

/// By its name; `None` for one that this version does not know.
pub fn resource(name: &str) -> Option<Resource> {
    Some(match name {
        "as" => Resource::As,
        "core" => Resource::Core,
        "cpu" => Resource::Cpu,
        "data" => Resource::Data,
        "fsize" => Resource::Fsize,
        "memlock" => Resource::Memlock,
        "msgqueue" => Resource::Msgqueue,
        "nice" => Resource::Nice,
        "nofile" => Resource::Nofile,
        "nproc" => Resource::Nproc,
        "rss" => Resource::Rss,
        "rtprio" => Resource::Rtprio,
        "rttime" => Resource::Rttime,
        "sigpending" => Resource::Sigpending,
        "stack" => Resource::Stack,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_resource_has_its_limit() {
        for name in settings::values::RESOURCES {
            assert!(resource(name).is_some(), "{name}");
        }
    }
}
