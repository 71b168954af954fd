//! Which files of a project are worth a reload when they change, told by their names.
//!
//! A list of kinds rather than everything: databases, logs, sockets and uploads change by the application's own doing, and a
//! reload for each request would be worse than none. Knows no events and no watching.

use std::path::Path;

/// What applications read once and keep: templates, translations, settings, and files that are collected or named by their
/// contents.
const KINDS: [&str; 31] = [
    "htm",
    "html",
    "jinja",
    "jinja2",
    "j2",
    "mako",
    "md",
    "mustache",
    "pt",
    "ptl",
    "rst",
    "tmpl",
    "tpl",
    "txt",
    "xhtml",
    "xml",
    "zpt",
    "mo",
    "po",
    "cfg",
    "conf",
    "env",
    "ini",
    "json",
    "properties",
    "toml",
    "yaml",
    "yml",
    "css",
    "js",
    "mjs",
];

/// Directories of tools, by name. Virtual environments are told by their `pyvenv.cfg`, whatever they are called.
const SKIPPED: [&str; 14] = [
    ".git",
    ".hg",
    ".svn",
    ".idea",
    ".vscode",
    "__pycache__",
    ".mypy_cache",
    ".pytest_cache",
    ".ruff_cache",
    ".tox",
    ".nox",
    "node_modules",
    "site-packages",
    "dist-packages",
];

/// Where applications put what is uploaded. A package may be called so too: Python files there count.
const UPLOADS: [&str; 2] = ["media", "uploads"];

/// Whether a change of `path` below `root` is worth a reload.
pub fn matters(root: &Path, path: &Path) -> bool {
    if is_python(path) {
        return true;
    }
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
        return false;
    };
    let below = path.strip_prefix(root).unwrap_or(path);
    let is_upload = below.parent().is_some_and(|directories| {
        directories
            .iter()
            .any(|directory| UPLOADS.iter().any(|uploads| directory == *uploads))
    });
    // `.env` and `.env.local` have no kind of their own.
    let is_environment = name == ".env" || name.starts_with(".env.");
    let extension = path.extension().and_then(|extension| extension.to_str());
    let is_known = extension.is_some_and(|extension| KINDS.contains(&extension));
    (is_known || is_environment) && !is_upload && !is_of_an_editor(name)
}

/// Whether it is code: nothing but a developer changes that.
pub fn is_python(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    path.extension().is_some_and(|extension| extension == "py") && !name.is_some_and(is_of_an_editor)
}

/// Whether nothing below `directory` is watched.
pub fn is_skipped(directory: &Path) -> bool {
    let name = directory.file_name().unwrap_or_default();
    SKIPPED.iter().any(|skipped| name == *skipped) || directory.join("pyvenv.cfg").exists()
}

/// Locks and copies that an editor makes beside an edited file, under its kind: those of Emacs. Others have kinds of their own.
fn is_of_an_editor(name: &str) -> bool {
    name.starts_with(".#") || name.starts_with('#')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_applications_keep_in_memory_matter() {
        for name in [
            "app.py",
            "templates/index.html",
            "shelf/templates/base.jinja2",
            "locale/de/LC_MESSAGES/django.mo",
            "settings.toml",
            ".env",
            ".env.local",
            "static/style.css",
            "notes.txt",
            "media/models.py",
        ] {
            assert!(
                matters(Path::new("/srv/blog"), &Path::new("/srv/blog").join(name)),
                "{name}"
            );
        }
        // Only what lies below the root is a directory of the project.
        assert!(matters(Path::new("/media/blog"), Path::new("/media/blog/index.html")));
    }

    #[test]
    fn files_that_applications_write_themselves_do_not_matter() {
        for name in [
            "db.sqlite3",
            "db.sqlite3-journal",
            "db.sqlite3-wal",
            "debug.log",
            "app.pyc",
            "wsgi.sock",
            "run.pid",
            "media/upload.txt",
            "files/uploads/a.html",
            "photo.jpg",
            ".index.html.swp",
            "index.html~",
            ".#index.html",
            ".#app.py",
            "#app.py#",
            "4913",
        ] {
            assert!(
                !matters(Path::new("/srv/blog"), &Path::new("/srv/blog").join(name)),
                "{name}"
            );
        }
    }
}
