//! Sockets of socket units, by their names.

use std::fs;
use std::os::unix::net::{UnixListener, UnixStream};

use rustix::process::Signal;

use super::{ServiceManager, stop};
use crate::run::{Running, Stage};

/// Has the manager pass sockets under these names, as those of socket units.
fn sockets(stage: &Stage, manager: &ServiceManager, names: &[&str]) {
    for (i, name) in names.iter().enumerate() {
        let socket = UnixListener::bind(stage.path(&format!("unit{i}"))).unwrap();
        let kept = ((*name).to_owned(), socket.into());
        manager.told.lock().unwrap().kept.push(kept);
    }
}

fn serve(stage: &Stage, manager: &ServiceManager, listen: &str) -> Running {
    manager.start(stage.command(&["serve", "app:application", "--listen", listen]))
}

#[test]
fn socket_is_had_by_its_name_over_reloads_and_upgrades() {
    let stage = Stage::new();
    let manager = ServiceManager::new(&stage);
    sockets(&stage, &manager, &["shop", "blog"]);
    let mut running = serve(&stage, &manager, "fd:blog");
    let path = stage.path("unit1");
    let ready = format!("listen=\"fd:blog (unix:{})\"", path.display());
    running.line(&ready);
    for signal in [Signal::HUP, Signal::USR2, Signal::HUP, Signal::USR2] {
        let mark = running.signal(signal);
        running.line_after(mark, "listening [1]");
        running.line_after(mark, &ready);
        UnixStream::connect(&path).unwrap();
    }
    stop(&mut running);
    assert!(path.exists(), "it is the socket unit's");
    assert!(!manager.is_told("FDSTORE=1"), "the manager has it already");
}

#[test]
fn name_that_several_sockets_have_means_all_of_them() {
    let stage = Stage::new();
    let manager = ServiceManager::new(&stage);
    sockets(&stage, &manager, &["blog", "blog"]);
    let mut running = serve(&stage, &manager, "fd:blog");
    running.line("listening [1, 1]");
    for signal in [Signal::HUP, Signal::USR2] {
        let mark = running.signal(signal);
        running.line_after(mark, "listening [1, 1]");
        running.line_after(mark, " ready ");
    }
    stop(&mut running);
}

#[test]
fn pools_of_a_file_have_a_socket_each_also_one_that_comes_after_an_upgrade() {
    let stage = Stage::new();
    let manager = ServiceManager::new(&stage);
    sockets(&stage, &manager, &["a", "b"]);
    let write = |names: &[&str]| {
        let python = stage.python();
        let pools = names.iter().map(|name| {
            format!(
                "[pool.{name}]\napp = \"app:application\"\npython = \"{}\"\nuser = \"root\"\nlisten = \"fd:{name}\"\n",
                python.display()
            )
        });
        fs::write(stage.path("wsgi-fpm.toml"), pools.collect::<String>()).unwrap();
    };
    write(&["a"]);
    let mut command = crate::run::program();
    command.args(["serve", "--config"]).arg(stage.path("wsgi-fpm.toml"));
    command.env("WSGI_FPM_ENGINE", stage.path("behaviour"));
    let mut running = manager.start(command);
    running.line("listen=\"fd:a (");
    for _ in 0..2 {
        let mark = running.signal(Signal::USR2);
        running.line_after(mark, "listen=\"fd:a (");
    }
    write(&["a", "b"]);
    let mark = running.signal(Signal::HUP);
    running.line_after(mark, "listen=\"fd:b (");
    stop(&mut running);
}

#[test]
fn name_that_is_missing_is_an_error_with_those_that_there_are() {
    let stage = Stage::new();
    let manager = ServiceManager::new(&stage);
    sockets(&stage, &manager, &["shop", "wiki.socket"]);
    let mut running = serve(&stage, &manager, "fd:blog");
    running.line(
        "--listen fd:blog: no socket has that name (FileDescriptorName= in the socket unit); there are: fd:shop, fd:wiki.socket",
    );
    assert_eq!(running.exit().code(), Some(1));

    let mut running = Running::spawn(stage.command(&["serve", "app:application", "--listen=fd:blog"]));
    running.line("--listen fd:blog: the service manager has passed no socket; start the socket unit first");
    assert_eq!(running.exit().code(), Some(1));
}

#[test]
fn what_is_no_socket_is_refused_by_its_name() {
    let stage = Stage::new();
    let manager = ServiceManager::new(&stage);
    let file = fs::File::create(stage.path("file")).unwrap();
    manager.told.lock().unwrap().kept.push(("blog".to_owned(), file.into()));
    let mut running = serve(&stage, &manager, "fd:blog");
    running.line("--listen fd:blog: what was left open there is not a listening unix or TCP stream socket");
    assert_eq!(running.exit().code(), Some(1));
}
