//! The configuration file: which servers and pools it describes, and everything in it that can't be.
//!
//! Reads text alone: whether users, directories and sockets exist is for others to find out.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use settings::toml::{Source, unknown};
use settings::values::{Address, PoolName, Values};
use settings::{Declaration, Entries, Layers, Mistake, Origin, Place, Said, Scope};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::report::{Problem, Report, Texts};

/// Bytes. A file with a thousand pools has a tenth of it.
const LARGEST: u64 = 1024 * 1024;
/// Included files. More is a pattern that was not meant so.
const MOST_FILES: usize = 10_000;

const SERVER: &str = "server";
const DEFAULTS: &str = "defaults";
const POOL: &str = "pool";
const INCLUDE: &str = "include";

/// What a file, with those that it includes, has said.
#[derive(Debug)]
pub struct Document {
    /// The program itself.
    pub server: Layers,
    /// In the order of their names.
    pub pools: BTreeMap<PoolName, Described>,
    texts: Texts,
    problems: Vec<Problem>,
}

impl Document {
    /// Everything that can't be, as far as the texts tell; `None` if nothing is wrong.
    pub fn report(self) -> Option<Report> {
        (!self.problems.is_empty()).then(|| Report::new(self.problems, self.texts))
    }
}

/// A pool, as its table and what holds for all describe it.
#[derive(Debug, Clone)]
pub struct Described {
    /// Of its table.
    pub place: Place,
    pub layers: Layers,
    /// Keys of what was said of it and could not be understood.
    pub wrong: Vec<&'static str>,
}

/// Reads the file at `path` and what it includes, as far as that can be understood. `check` says what else is wrong with a pool.
pub fn read(path: &Path, check: impl Fn(&PoolName, &Described) -> Vec<Mistake>) -> Document {
    let mut reader = Reader::default();
    // What it names is relative to it, wherever this program was started.
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    match text(&path) {
        Ok(text) => reader.main(&path, &text),
        Err(problem) => reader.problems.push(problem),
    }
    reader.finish(&path, check)
}

/// The text of a file that somebody has named.
fn text(path: &Path) -> Result<Arc<str>, Problem> {
    let wrong = |what: String| Problem::File {
        path: path.to_owned(),
        what,
    };
    let unreadable = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => wrong("there is no such file".to_owned()),
        io::ErrorKind::PermissionDenied => wrong("this user may not read it".to_owned()),
        io::ErrorKind::IsADirectory => wrong("this is a directory; name the file in it".to_owned()),
        _ => wrong(format!("it can't be read: {error}")),
    };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(LARGEST + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > LARGEST {
        return Err(wrong(format!(
            "it is larger than {} KiB: is it a configuration?",
            LARGEST / 1024
        )));
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(text.into()),
        Err(error) => {
            let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            let line = 1 + before.iter().filter(|&&byte| byte == b'\n').count();
            Err(wrong(format!("line {line} is not UTF-8")))
        }
    }
}

/// What has been read so far.
#[derive(Default)]
struct Reader {
    texts: Texts,
    problems: Vec<Problem>,
    server: Vec<Said>,
    defaults: Options,
    pools: BTreeMap<PoolName, PoolTable>,
}

/// A pool's own table.
struct PoolTable {
    origin: Origin,
    place: Place,
    options: Options,
}

/// What a table says.
#[derive(Default)]
struct Options {
    said: Vec<Said>,
    /// Keys of what can't be understood.
    wrong: Vec<&'static str>,
}

/// One file that is being read.
struct Current<'a> {
    source: Source<'a>,
    file: Arc<Path>,
}

impl Reader {
    fn main(&mut self, path: &Path, text: &Arc<str>) {
        let Some((current, table)) = self.open(path, text) else {
            return;
        };
        for (key, value) in table.get_ref() {
            match (key.get_ref().as_ref(), value.get_ref()) {
                (INCLUDE, _) => self.include(&current, value),
                (SERVER, DeValue::Table(options)) => {
                    self.server = self.options(&current, SERVER, options, is_of_server).said;
                }
                (DEFAULTS, DeValue::Table(options)) => {
                    self.defaults = self.options(&current, DEFAULTS, options, is_of_pools);
                }
                (POOL, DeValue::Table(pools)) => self.pools(&current, pools),
                (name @ (SERVER | DEFAULTS | POOL), _) => {
                    let message = format!(
                        "{name} is a table: write [{}]",
                        if name == POOL { "pool.NAME" } else { name }
                    );
                    self.wrong(&current, value, message);
                }
                (name, _) => self.unknown_key(&current, key, name, &[INCLUDE, SERVER, DEFAULTS, POOL]),
            }
        }
    }

    /// An included file has pools, and nothing that would be true of others.
    fn included(&mut self, path: &Path, text: &Arc<str>) {
        let Some((current, table)) = self.open(path, text) else {
            return;
        };
        for (key, value) in table.get_ref() {
            match (key.get_ref().as_ref(), value.get_ref()) {
                (POOL, DeValue::Table(pools)) => self.pools(&current, pools),
                (POOL, _) => self.wrong(&current, value, "pool is a table: write [pool.NAME]"),
                (name @ (INCLUDE | SERVER | DEFAULTS), _) => {
                    self.wrong(&current, key, format!("{name} can stand in the main file alone"));
                }
                (name, _) => self.unknown_key(&current, key, name, &[POOL]),
            }
        }
    }

    fn open<'t>(&mut self, path: &'t Path, text: &'t Arc<str>) -> Option<(Current<'t>, Spanned<DeTable<'t>>)> {
        let file: Arc<Path> = path.into();
        self.texts.add(Arc::clone(&file), Arc::clone(text));
        let source = Source {
            text,
            first_line: 1,
            directory: path.parent().unwrap_or(path),
        };
        match source.parse(&origin(&file, "")) {
            Ok(table) => Some((Current { source, file }, table)),
            Err(mistake) => {
                self.problems.push(Problem::Mistake(mistake));
                None
            }
        }
    }

    /// The files that match `patterns`, in the order of their names.
    fn include(&mut self, current: &Current<'_>, patterns: &Spanned<DeValue<'_>>) {
        const WANTED: &str = "write include = [\"pools.d/*.toml\"]";
        let Some(items) = patterns.get_ref().as_array() else {
            return self.wrong(current, patterns, WANTED);
        };
        for item in items {
            let Some(pattern) = item.get_ref().as_str() else {
                self.wrong(current, item, WANTED);
                continue;
            };
            let full = current.source.directory.join(pattern);
            let paths = match glob::glob(&full.to_string_lossy()) {
                Ok(paths) => paths,
                Err(error) => {
                    self.wrong(current, item, format!("{pattern:?} is no pattern: {}", error.msg));
                    continue;
                }
            };
            let mut found = 0;
            for path in paths {
                found += 1;
                match path {
                    _ if found > MOST_FILES => {
                        self.wrong(
                            current,
                            item,
                            format!("{pattern:?} matches more than {MOST_FILES} files"),
                        );
                        break;
                    }
                    Ok(path) => self.include_one(current, item, path),
                    Err(error) => self.problems.push(Problem::File {
                        path: error.path().to_owned(),
                        what: error.error().to_string(),
                    }),
                }
            }
            let is_name = !pattern.contains(['*', '?', '[']);
            if found == 0 && is_name {
                self.wrong(current, item, format!("there is no file {}", full.display()));
            }
        }
    }

    fn include_one(&mut self, current: &Current<'_>, item: &Spanned<impl Sized>, path: PathBuf) {
        let same = |one: &Path, other: &Path| matches!((one.canonicalize(), other.canonicalize()), (Ok(one), Ok(other)) if one == other);
        if same(&path, &current.file) {
            return self.wrong(current, item, "the file includes itself");
        }
        if self.texts.files().any(|file| same(&path, file)) {
            return self.wrong(current, item, format!("{} is included twice", path.display()));
        }
        match text(&path) {
            Ok(text) => self.included(&path, &text),
            Err(problem) => self.problems.push(problem),
        }
    }

    fn pools(&mut self, current: &Current<'_>, pools: &DeTable<'_>) {
        for (key, value) in pools {
            let name = match key.get_ref().parse::<PoolName>() {
                Ok(name) => name,
                Err(message) => {
                    self.wrong(
                        current,
                        key,
                        format!("a pool can't be called {:?}: {message}", key.get_ref()),
                    );
                    continue;
                }
            };
            let Some(options) = value.get_ref().as_table() else {
                self.wrong(current, value, format!("a pool is a table: write [pool.{name}]"));
                continue;
            };
            let table = format!("{POOL}.{name}");
            let options = self.options(current, &table, options, is_of_pools);
            let origin = origin(&current.file, &table);
            let place = current.source.place(&origin, key.span());
            if let Some(other) = self.pools.get(&name) {
                let other = other.place.to_string();
                let message = format!("there is a pool {name} already, in {other}");
                self.problems.push(Problem::from(Mistake::at(place, message)));
                continue;
            }
            self.pools.insert(name, PoolTable { origin, place, options });
        }
    }

    fn options(
        &mut self,
        current: &Current<'_>,
        table: &str,
        options: &DeTable<'_>,
        is_known: fn(&Declaration) -> bool,
    ) -> Options {
        let spoken = current.source.read(&origin(&current.file, table), options, is_known);
        let wrong = spoken.mistakes.iter().filter_map(|mistake| Some(mistake.option?.key));
        let wrong = wrong.collect();
        self.problems.extend(spoken.mistakes.into_iter().map(Problem::from));
        let said = spoken.said;
        Options { said, wrong }
    }

    fn wrong(&mut self, current: &Current<'_>, at: &Spanned<impl Sized>, message: impl Into<String>) {
        let place = current.source.place(&origin(&current.file, ""), at.span());
        self.problems.push(Problem::from(Mistake::at(place, message)));
    }

    fn unknown_key(&mut self, current: &Current<'_>, key: &Spanned<impl Sized>, name: &str, known: &[&str]) {
        let place = current.source.place(&origin(&current.file, ""), key.span());
        let mistake = unknown(place, "table", name, known.iter().copied());
        // Somebody who writes an option here has forgotten in front of what.
        let mistake = match settings::find(name) {
            Some(option) if is_of_server(option) => mistake.with_help("it belongs below [server]"),
            Some(_) => mistake.with_help("it belongs below [defaults] or [pool.NAME]"),
            None => mistake,
        };
        self.problems.push(mistake.into());
    }

    fn finish(mut self, path: &Path, check: impl Fn(&PoolName, &Described) -> Vec<Mistake>) -> Document {
        let file: Arc<Path> = path.into();
        let mut server = Layers::at(Entries::POOL, origin(&file, SERVER));
        server.put(self.server.clone());
        // What holds for the program holds for pools that say nothing else.
        let shared: Vec<_> = self
            .server
            .into_iter()
            .filter(|said| said.option.scope == Scope::ServerAndPool)
            .collect();
        let mut pools = BTreeMap::new();
        for (name, table) in self.pools {
            let mut layers = Layers::at(Entries::POOL, table.origin);
            layers.put(shared.clone());
            layers.put(self.defaults.said.clone());
            layers.put(table.options.said);
            let mistakes = layers.take_mistakes();
            self.problems.extend(mistakes.into_iter().map(Problem::from));
            let pool = Described {
                place: table.place,
                layers,
                wrong: [&self.defaults.wrong[..], &table.options.wrong].concat(),
            };
            self.problems.extend(check(&name, &pool).into_iter().map(Problem::from));
            pools.insert(name, pool);
        }
        if pools.is_empty() && self.problems.is_empty() {
            self.problems.push(Problem::File {
                path: path.to_owned(),
                what: "it describes no pool; write [pool.NAME], and app and listen below it".to_owned(),
            });
        }
        self.problems
            .extend(listened_twice(&pools).into_iter().map(Problem::from));
        Document {
            server,
            pools,
            texts: self.texts,
            problems: self.problems,
        }
    }
}

fn origin(file: &Arc<Path>, table: &str) -> Origin {
    Origin::File {
        file: Arc::clone(file),
        table: table.into(),
    }
}

pub fn is_of_server(option: &Declaration) -> bool {
    matches!(option.scope, Scope::Server | Scope::ServerAndPool)
}

pub fn is_of_pools(option: &Declaration) -> bool {
    option.scope != Scope::Server && option.entries.has(Entries::POOL)
}

/// One address for two pools, or twice for one.
fn listened_twice(pools: &BTreeMap<PoolName, Described>) -> Vec<Mistake> {
    let mut seen: Vec<(Address, &PoolName, &Said)> = Vec::new();
    let mut mistakes = Vec::new();
    for (name, pool) in pools {
        let Some(said) = pool.layers.said("listen") else {
            continue;
        };
        for address in Vec::<Address>::read(&said.values).unwrap_or_default() {
            // Port 0 is a new port each time.
            let is_new_port = matches!(address, Address::Tcp(address) if address.port() == 0);
            match seen.iter().find(|(other, ..)| *other == address && !is_new_port) {
                Some((_, other, at)) => {
                    let who = if *other == name {
                        "this pool".to_owned()
                    } else {
                        format!("pool {other}")
                    };
                    let message = format!("{who} listens on {address} already, in {}", at.place);
                    mistakes.push(Mistake::of(said, message));
                }
                None => seen.push((address, name, said)),
            }
        }
    }
    mistakes
}

#[cfg(test)]
mod tests {
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
            problems(
                "[server]\nthreads = 2\n[pool.a]\nlog_format = \"json\"\ncgi_variable = [\"X\"]\n[pool.\"a b\"]\n"
            ),
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

error: pool.blog.workers: write a number from 1 to 1024, or auto for one on each core
 --> wsgi-fpm.toml:5:11
  |
5 | workers = \"many\"
  |           ^^^^^^";
        assert_eq!(text, expected);
    }
}
