//! Files that tests write, and what is read from them or wrong with them.

use settings::sections::{App, Limits, Log};

use super::*;

/// Without a check of the pools.
fn read_alone(path: &Path) -> Result<Document, Report> {
    let document = read(path, |_, _| Vec::new());
    match document.problems.is_empty() {
        true => Ok(document),
        false => Err(document.report().unwrap()),
    }
}

/// A directory with these files; the first is the main one.
struct Files {
    directory: tempfile::TempDir,
    main: PathBuf,
}

impl Files {
    fn new(files: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = directory.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let main = directory.path().join(files[0].0);
        Self { directory, main }
    }

    fn read(&self) -> Result<Document, Report> {
        read_alone(&self.main)
    }

    /// What is wrong, without the directory.
    fn problems(&self) -> Vec<String> {
        let report = self.read().expect_err("a mistake");
        let directory = format!("{}/", self.directory.path().display());
        report.lines().map(|line| line.replace(&directory, "")).collect()
    }
}

fn problems(text: &str) -> Vec<String> {
    Files::new(&[("wsgi-fpm.toml", text)]).problems()
}

#[test]
fn pools_are_read_with_what_holds_for_all() {
    let files = Files::new(&[(
        "wsgi-fpm.toml",
        "[server]\nlog_level = \"warn\"\n[defaults]\nrequest_timeout = \"1m\"\nlog_level = \"error\"\n\
         [pool.shop]\napp = \"shop:app\"\nrequest_timeout = 10\n[pool.blog]\napp = \"blog:app\"\nlog_level = \"debug\"\n",
    )]);
    let mut document = files.read().unwrap();
    assert_eq!(
        document.pools.keys().map(PoolName::as_str).collect::<Vec<_>>(),
        ["blog", "shop"]
    );
    assert_eq!(
        Log::take(&mut document.server).log_level.to_string(),
        "wsgi-fpm.toml:2: server.log_level warn"
    );
    let mut pools: Vec<_> = document.pools.into_values().map(|pool| pool.layers).collect();
    assert_eq!(App::take(&mut pools[0]).app.as_ref().unwrap().as_str(), "blog:app");
    assert_eq!(
        Limits::take(&mut pools[0]).request_timeout.to_string(),
        "wsgi-fpm.toml:4: defaults.request_timeout 1m"
    );
    assert_eq!(
        Limits::take(&mut pools[1]).request_timeout.to_string(),
        "wsgi-fpm.toml:8: pool.shop.request_timeout 10s"
    );
    assert_eq!(
        Log::take(&mut pools[0]).log_level.to_string(),
        "wsgi-fpm.toml:11: pool.blog.log_level debug"
    );
    assert_eq!(
        Log::take(&mut pools[1]).log_level.to_string(),
        "wsgi-fpm.toml:5: defaults.log_level error"
    );
}

#[test]
fn included_files_are_read_in_the_order_of_their_names() {
    let files = Files::new(&[
        (
            "wsgi-fpm.toml",
            "include = [\"pools.d/*.toml\", \"one.toml\"]\n[pool.main]\napp = \"a\"\n",
        ),
        ("pools.d/20-shop.toml", "[pool.shop]\napp = \"a\"\nchdir = \"shop\"\n"),
        ("pools.d/10-blog.toml", "[pool.blog]\napp = \"a\"\n"),
        ("pools.d/README", "no TOML"),
        ("one.toml", "[pool.one]\napp = \"a\"\n"),
    ]);
    let mut document = files.read().unwrap();
    let names: Vec<_> = document.pools.keys().map(PoolName::as_str).collect();
    assert_eq!(names, ["blog", "main", "one", "shop"]);
    // Relative to the file that says it.
    let shop = document.pools.get_mut(&"shop".parse().unwrap()).unwrap();
    let chdir = App::take(&mut shop.layers).chdir.clone().into_value().unwrap();
    assert_eq!(chdir, files.directory.path().join("pools.d/shop"));
}

#[test]
fn pattern_may_match_nothing_but_a_name_may_not() {
    let text = "include = [\"pools.d/*.toml\"]\n[pool.a]\n";
    assert!(Files::new(&[("wsgi-fpm.toml", text)]).read().is_ok());
    assert_eq!(
        problems("include = [\"other.toml\"]\n"),
        ["wsgi-fpm.toml:1: there is no file other.toml"]
    );
}

#[test]
fn file_that_includes_itself_is_refused() {
    assert_eq!(
        problems("include = [\"*.toml\"]\n"),
        ["wsgi-fpm.toml:1: the file includes itself"]
    );
    let files = Files::new(&[
        ("wsgi-fpm.toml", "include = [\"one.toml\", \"o*.toml\"]\n"),
        ("one.toml", ""),
    ]);
    assert_eq!(files.problems(), ["wsgi-fpm.toml:1: one.toml is included twice"]);
}

#[test]
fn included_file_has_pools_alone() {
    let files = Files::new(&[
        ("wsgi-fpm.toml", "include = [\"one.toml\"]\n"),
        ("one.toml", "include = [\"x\"]\n[defaults]\nthreads = 1\n[server]\n"),
    ]);
    let alone = |line: usize, name: &str| format!("one.toml:{line}: {name} can stand in the main file alone");
    assert_eq!(
        files.problems(),
        [alone(1, "include"), alone(2, "defaults"), alone(4, "server")]
    );
}

#[test]
fn two_pools_of_one_name_are_refused() {
    let files = Files::new(&[
        ("wsgi-fpm.toml", "include = [\"one.toml\"]\n\n[pool.blog]\n"),
        ("one.toml", "[pool.blog]\n"),
    ]);
    let problems = files.problems();
    let expected = "wsgi-fpm.toml:3: there is a pool blog already, in one.toml:1";
    assert_eq!(problems, [expected]);
}

#[test]
fn two_pools_on_one_socket_are_refused() {
    assert_eq!(
        problems("[pool.a]\nlisten = \"/run/a.sock\"\n[pool.b]\nlisten = [\":9000\", \"unix:/run/a.sock\"]\n"),
        ["wsgi-fpm.toml:4: pool.b.listen: pool a listens on unix:/run/a.sock already, in wsgi-fpm.toml:2"]
    );
    assert_eq!(
        problems("[pool.a]\nlisten = [\":9000\", \"127.0.0.1:9000\"]\n"),
        ["wsgi-fpm.toml:2: pool.a.listen: this pool listens on 127.0.0.1:9000 already, in wsgi-fpm.toml:2"]
    );
    let both = "[pool.a]\nlisten = \":0\"\n[pool.b]\nlisten = \":0\"\n";
    assert!(Files::new(&[("wsgi-fpm.toml", both)]).read().is_ok());
}

#[test]
fn option_outside_of_a_table_is_said_to_be_so() {
    assert_eq!(
        problems("threads = 2\nlog_format = \"json\"\nsever = 1\nserver = 2\n"),
        [
            "wsgi-fpm.toml:1: there is no table \"threads\"; it belongs below [defaults] or [pool.NAME]",
            "wsgi-fpm.toml:2: there is no table \"log_format\"; it belongs below [server]",
            "wsgi-fpm.toml:3: there is no table \"sever\"; did you mean server?",
            "wsgi-fpm.toml:4: server is a table: write [server]",
        ]
    );
}

#[test]
fn options_stand_where_they_mean_something() {
    assert_eq!(
        problems("[server]\nthreads = 2\n[pool.a]\nlog_format = \"json\"\ncgi_variable = [\"X\"]\n[pool.\"a b\"]\n"),
        [
            "wsgi-fpm.toml:2: there is no option \"threads\"",
            "wsgi-fpm.toml:4: there is no option \"log_format\"",
            "wsgi-fpm.toml:5: there is no option \"cgi_variable\"",
            "wsgi-fpm.toml:6: a pool can't be called \"a b\": use up to 64 letters, digits, dots, dashes and underscores",
        ]
    );
}

#[test]
fn file_that_can_not_be_read_is_named_with_the_reason() {
    let files = Files::new(&[("wsgi-fpm.toml", "")]);
    let directory = files.directory.path();
    let read = |path: &Path| {
        let line = read_alone(path).unwrap_err().to_string();
        line.replace(&format!("{}", directory.display()), "DIR")
    };
    assert_eq!(read(&directory.join("no.toml")), "DIR/no.toml: there is no such file");
    assert_eq!(read(directory), "DIR: this is a directory; name the file in it");
    std::fs::write(&files.main, b"# caf\xe9\n").unwrap();
    assert_eq!(read(&files.main), "DIR/wsgi-fpm.toml: line 1 is not UTF-8");
    std::fs::write(&files.main, "#".repeat(LARGEST as usize)).unwrap();
    let ends =
        |path: &Path| read(path).ends_with("it describes no pool; write [pool.NAME], and app and listen below it");
    assert!(ends(&files.main));
    std::fs::write(&files.main, "#".repeat(LARGEST as usize + 1)).unwrap();
    assert_eq!(
        read(&files.main),
        "DIR/wsgi-fpm.toml: it is larger than 1024 KiB: is it a configuration?"
    );
    std::fs::write(&files.main, "[pool.a\n").unwrap();
    assert!(
        read(&files.main).starts_with("wsgi-fpm.toml:1: "),
        "{}",
        read(&files.main)
    );
}

#[test]
fn mistakes_are_shown_in_their_text() {
    let files = Files::new(&[(
        "wsgi-fpm.toml",
        "[defaults]\n\n[pool.blog]\nthread = 2\nworkers = \"many\"\n",
    )]);
    let text = files.read().unwrap_err().render(false);
    let text = text.replace(&format!("{}/", files.directory.path().display()), "");
    let expected = "\
error: there is no option \"thread\"
 --> wsgi-fpm.toml:4:1
  |
4 | thread = 2
  | ^^^^^^
  |
  = help: did you mean threads?

error: pool.blog.workers: write a number from 1 to 1024, auto for one on each core, or a range such as 1..4, 0..4 or 1..auto
 --> wsgi-fpm.toml:5:11
  |
5 | workers = \"many\"
  |           ^^^^^^";
    assert_eq!(text, expected);
}
