//! Where a Python is looked for, and what stands in its way there.

use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use contract::denied::{Wish, denied};
use settings::Setting;

use super::{PythonError, Source, Wanted};

/// Where Python is looked for if there is no `$PATH`: lighttpd starts CGI scripts without one.
const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

pub(super) fn search_path(variable: Option<OsString>) -> Vec<PathBuf> {
    std::env::split_paths(&variable.unwrap_or_else(|| DEFAULT_PATH.into())).collect()
}

impl Wanted {
    pub(super) fn locate(&self) -> Result<(Source, PathBuf), PythonError> {
        if let Some(path) = &*self.option {
            return self.locate_option(&Setting::new(path.clone(), self.option.name()));
        }
        if let Some(directory) = &self.own {
            let named = Source::Own(directory.clone());
            return in_directory(&named, directory).map(|executable| (named, executable));
        }
        if let Some(directory) = &self.virtual_env {
            let named = Source::VirtualEnv(directory.clone());
            return in_directory(&named, directory).map(|executable| (named, executable));
        }
        if let Some(directory) = &self.found {
            let named = Source::Own(directory.clone());
            return in_directory(&named, directory).map(|executable| (named, executable));
        }
        let directory = self.chdir.join(".venv");
        let named = Source::DotVenv(directory.clone());
        may(&named, &directory, Wish::Enter)?;
        if directory.is_dir() {
            return in_directory(&named, &directory).map(|executable| (named, executable));
        }
        match self.search_path(Path::new("python3")) {
            Some(executable) => Ok((Source::Path, executable)),
            None => Err(PythonError::NoPython(self.option.name().to_owned())),
        }
    }

    fn locate_option(&self, option: &Setting<PathBuf>) -> Result<(Source, PathBuf), PythonError> {
        let named = Source::Option(option.clone());
        let path = std::path::absolute(&**option).map_err(|_| PythonError::Missing(named.clone()))?;
        may(&named, &path, Wish::Reach)?;
        if path.is_dir() {
            return in_directory(&named, &path).map(|executable| (named, executable));
        }
        if path.symlink_metadata().is_ok() {
            return usable(&named, &path).map(|()| (named, path));
        }
        // A bare name is a command, as in a shell: python3.12.
        if option.components().count() == 1 {
            return match self.search_path(option) {
                Some(executable) => Ok((named, executable)),
                None => Err(PythonError::NotOnPath(named)),
            };
        }
        Err(PythonError::Missing(named))
    }

    fn search_path(&self, name: &Path) -> Option<PathBuf> {
        let mut candidates = self.path.iter().map(|directory| directory.join(name));
        candidates.find(|candidate| is_executable(candidate))
    }
}

/// The interpreter of a virtual environment or an installation.
fn in_directory(named: &Source, directory: &Path) -> Result<PathBuf, PythonError> {
    may(named, directory, Wish::Enter)?;
    if !directory.is_dir() {
        return Err(PythonError::Missing(named.clone()));
    }
    for name in ["bin/python", "bin/python3"] {
        let executable = directory.join(name);
        may(named, &executable, Wish::Reach)?;
        if executable.symlink_metadata().is_err() {
            continue;
        }
        let cfg = directory.join("pyvenv.cfg");
        may(named, &cfg, Wish::Read)?;
        if let Some(home) = pyvenv_home(&cfg) {
            may(named, &home, Wish::Enter)?;
            if !home.is_dir() {
                let named = named.clone();
                return Err(PythonError::HomeMissing { named, home });
            }
        }
        return usable(named, &executable).map(|()| executable);
    }
    Err(PythonError::NoInterpreter(named.clone()))
}

/// `home` of a virtual environment: the directory of the executable that it was made with.
fn pyvenv_home(file: &Path) -> Option<PathBuf> {
    let text = std::fs::read_to_string(file).ok()?;
    let mut entries = text.lines().filter_map(|line| line.split_once('='));
    let (_, home) = entries.find(|(key, _)| key.trim().eq_ignore_ascii_case("home"))?;
    Some(PathBuf::from(home.trim()))
}

/// That no permission is missing.
fn may(named: &Source, path: &Path, wish: Wish) -> Result<(), PythonError> {
    let named = named.clone();
    denied(path, wish).map_or(Ok(()), |denied| Err(PythonError::Denied { named, denied }))
}

/// That `executable` exists, at the end of its links too, and may be run.
fn usable(named: &Source, executable: &Path) -> Result<(), PythonError> {
    // What nobody may run is no matter of who this is.
    let wish = if is_executable(executable) {
        Wish::Run
    } else {
        Wish::Reach
    };
    may(named, executable, wish)?;
    let named = named.clone();
    let mut link = executable.to_owned();
    // The first link whose target is missing: it is what has to be repaired. 40 is the kernel's own limit.
    for _ in 0..40 {
        let Ok(target) = link.read_link() else { break };
        let target = link.parent().unwrap_or(Path::new("/")).join(target);
        if target.symlink_metadata().is_err() {
            return Err(PythonError::Dangling { named, link, target });
        }
        link = target;
    }
    if !is_executable(executable) {
        let path = executable.to_owned();
        return Err(PythonError::NotExecutable { named, path });
    }
    Ok(())
}

pub(super) fn is_executable(path: &Path) -> bool {
    path.metadata()
        .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::users::Identity;

    fn option(path: Option<PathBuf>) -> Setting<Option<PathBuf>> {
        Setting::new(path, "--python")
    }

    fn wanted(directory: &Path) -> Wanted {
        Wanted {
            option: option(None),
            own: None,
            virtual_env: None,
            found: None,
            path: vec![directory.join("path")],
            chdir: directory.to_owned(),
            identity: Identity::default(),
        }
    }

    fn executable(path: &Path) -> PathBuf {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "#!/bin/sh\n").unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path.to_owned()
    }

    #[test]
    fn without_a_search_path_there_are_the_usual_directories() {
        assert_eq!(search_path(Some("/a:/b".into())), [Path::new("/a"), Path::new("/b")]);
        assert!(search_path(None).contains(&PathBuf::from("/usr/bin")));
    }

    #[test]
    fn sources_are_tried_in_their_order() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        let mut wanted = wanted(root);
        assert!(matches!(wanted.locate(), Err(PythonError::NoPython(_))));
        let on_path = executable(&root.join("path/python3"));
        assert_eq!(wanted.locate().unwrap(), (Source::Path, on_path));
        let dot_venv = executable(&root.join(".venv/bin/python"));
        assert_eq!(wanted.locate().unwrap().1, dot_venv);
        let found = executable(&root.join("found/bin/python"));
        wanted.found = Some(root.join("found"));
        assert_eq!(wanted.locate().unwrap().1, found);
        let active = executable(&root.join("active/bin/python3"));
        wanted.virtual_env = Some(root.join("active"));
        assert_eq!(wanted.locate().unwrap().1, active);
        let named = executable(&root.join("named/bin/python"));
        let own = executable(&root.join("own/bin/python"));
        wanted.own = Some(root.join("own"));
        assert_eq!(wanted.locate().unwrap().1, own);
        wanted.option = option(Some(root.join("named")));
        assert_eq!(wanted.locate().unwrap().1, named);
        wanted.option = option(Some(named.clone()));
        assert_eq!(wanted.locate().unwrap().1, named);
        let command = executable(&root.join("path/python3.12"));
        wanted.option = option(Some("python3.12".into()));
        assert_eq!(wanted.locate().unwrap().1, command);
        wanted.option = option(Some("python3.99".into()));
        assert!(matches!(wanted.locate(), Err(PythonError::NotOnPath(_))));
    }
}
