//! The installation that this program belongs to: applications may be in it.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use super::lookup::{is_executable, search_path};
use crate::users;

/// What marks an environment that `uv tool install` or `pipx install` has made for this program alone.
const OF_TOOLS: [&str; 2] = ["uv-receipt.toml", "pipx_metadata.json"];

/// A virtual environment, in which applications may be: none is in a tool's.
pub(super) fn is_for_applications(directory: &Path) -> bool {
    let has = |name: &str| directory.join(name).is_file();
    has("pyvenv.cfg") && !OF_TOOLS.into_iter().any(has) && !is_of_one_command(directory)
}

/// `uvx` has made it in uv's cache, `CACHE/archive-v0/ID`.
fn is_of_one_command(directory: &Path) -> bool {
    let mut above = directory.ancestors().skip(1);
    let (Some(archive), Some(cache)) = (above.next(), above.next()) else {
        return false;
    };
    let is_archive = archive
        .file_name()
        .is_some_and(|name| name.to_string_lossy().starts_with("archive-v"));
    is_archive && cache.join("CACHEDIR.TAG").is_file()
}

/// The installations that this program was called from, environments or not.
pub(super) struct Own {
    /// By the path that it was called by, such as a script's `#!/srv/blog/.venv/bin/wsgi-fpm`: often a link.
    pub(super) called: Option<PathBuf>,
    /// By its name alone: an active environment says more.
    pub(super) found: Option<PathBuf>,
}

pub(super) static OWN: LazyLock<Own> = LazyLock::new(|| {
    let called = std::env::args_os().next().map(PathBuf::from).unwrap_or_default();
    let installation = |program: &Path| std::path::absolute(program.parent()?.parent()?).ok();
    if called.components().count() == 1 {
        let program = users::program().ok();
        let path = search_path(std::env::var_os("PATH"));
        let found = path
            .iter()
            .map(|directory| directory.join(&called))
            .find(|path| is_executable(path));
        // Whoever starts a program may call it anything.
        let found = found.filter(|found| found.canonicalize().ok() == program);
        Own {
            called: None,
            found: found.and_then(|found| installation(&found)),
        }
    } else {
        Own {
            called: installation(&called),
            found: None,
        }
    }
});

/// Keeps the path that this program was called by: a title takes the place of the arguments.
pub fn keep_own_path() {
    LazyLock::force(&OWN);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn environment_of_a_tool_is_for_no_application() {
        let directory = tempfile::tempdir().unwrap();
        assert!(!is_for_applications(directory.path()));
        std::fs::write(directory.path().join("pyvenv.cfg"), "").unwrap();
        assert!(is_for_applications(directory.path()));
        for name in OF_TOOLS {
            let marker = directory.path().join(name);
            std::fs::write(&marker, "").unwrap();
            assert!(!is_for_applications(directory.path()), "{name}");
            std::fs::remove_file(&marker).unwrap();
        }
        let of_uvx = directory.path().join("archive-v0/x7qN");
        std::fs::create_dir_all(&of_uvx).unwrap();
        std::fs::write(of_uvx.join("pyvenv.cfg"), "").unwrap();
        assert!(is_for_applications(&of_uvx));
        std::fs::write(directory.path().join("CACHEDIR.TAG"), "").unwrap();
        assert!(!is_for_applications(&of_uvx));
    }
}
