//! One nginx in front of three pools with three Pythons and three users.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::process::Command;

use crate::house::{DEFAULTS, House, directory, pool};
use crate::support::account::Account;
use crate::support::http::{Request, fetch};
use crate::support::nginx::{Nginx, upstream};
use crate::support::program::program;
use crate::support::python::{self, Python};

/// Pythons of three versions, of which none need be where others may enter: the program runs where they are mounted a second time.
struct Mounted {
    pythons: Vec<Python>,
}

impl Mounted {
    fn find() -> Self {
        let all = python::available();
        let homes = all.into_iter().filter(|python| !python.path.starts_with("/usr/bin"));
        let pythons: Vec<_> = homes.take(3).collect();
        assert_eq!(pythons.len(), 3, "three Pythons are needed");
        Self { pythons }
    }

    /// The directory of the one with this number, below `root`.
    fn place(i: usize) -> String {
        format!("python{i}")
    }

    /// A shell that mounts them below `root` for itself and what it starts, and becomes the program.
    fn command(&self, root: &std::path::Path) -> Command {
        let mut script = String::new();
        for (i, python) in self.pythons.iter().enumerate() {
            let home = python.path.ancestors().nth(2).unwrap();
            let place = root.join(Self::place(i));
            fs::create_dir(&place).unwrap();
            script.push_str(&format!("mount --bind '{}' '{}' && ", home.display(), place.display()));
        }
        script.push_str("exec \"$@\"");
        let mut command = Command::new("unshare");
        // Where they look for their library by themselves, nobody but root may enter.
        let libraries: Vec<_> = (0..self.pythons.len())
            .map(|i| root.join(Self::place(i)).join("lib"))
            .collect();
        command
            .env("LD_LIBRARY_PATH", std::env::join_paths(libraries).unwrap())
            .args(["--mount", "sh", "-c", &script, "sh"])
            .arg(program());
        command
    }
}

#[test]
fn three_pools_with_three_pythons_and_three_users() {
    let mounted = Mounted::find();
    let accounts = [Account::new(), Account::new(), Account::new()];
    let directory = directory();
    let root = directory.path().to_owned();
    let mut text = DEFAULTS.to_owned();
    for (i, account) in accounts.iter().enumerate() {
        let secret = root.join(&account.name);
        fs::write(&secret, &account.name).unwrap();
        fs::set_permissions(&secret, Permissions::from_mode(0o600)).unwrap();
        chown(&secret, Some(account.uid), Some(account.gid)).unwrap();
        let lines = format!(
            "python = \"{}\"\nuser = \"{}\"\nlisten_mode = \"0666\"\nkeep_env = [\"LD_LIBRARY_PATH\"]",
            root.join(Mounted::place(i)).display(),
            account.name
        );
        text.push_str(&pool(&format!("p{i}"), &lines));
    }
    fs::write(root.join("wsgi-fpm.toml"), text).unwrap();
    let house = House::spawn(directory, mounted.command(&root));
    let mut nginx = Nginx::configure();
    for i in 0..3 {
        house.wait_ready(&format!("p{i}"));
        let content = format!(
            "location / {{ include wsgi_fpm_params; fastcgi_pass {}; }}",
            upstream(&house.socket(&format!("p{i}")))
        );
        nginx = nginx.server(0, &format!("p{i}.test"), &content);
    }
    let nginx = nginx.start();
    for (i, account) in accounts.iter().enumerate() {
        let get = |target: &str| {
            let request = Request::get(target).host(&format!("p{i}.test"));
            fetch(nginx.address(), &request).ok().text()
        };
        let (major, minor) = mounted.pythons[i].version;
        let who = get("/");
        assert!(
            who.contains(&format!("uid={} python={major}.{minor} ", account.uid)),
            "{who}"
        );
        for other in &accounts {
            let read = get(&format!("/read?{}", root.join(&other.name).display()));
            let expected = match other.name == account.name {
                true => format!("read: {}", other.name),
                false => "not read: PermissionError".to_owned(),
            };
            assert_eq!(read, expected);
        }
    }
}
