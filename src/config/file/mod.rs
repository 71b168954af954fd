//! The configuration file: which servers and pools it describes, and everything in it that can't be.
//!
//! Reads text alone: whether users, directories and sockets exist is for others to find out.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use settings::sections::Status;
use settings::toml::{Source, unknown};
use settings::values::{Address, PoolName, Values};
use settings::{Declaration, Entries, Layers, Mistake, Origin, Place, Said, Scope};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::beyond_this_machine;
use super::error::NOT_LOOPBACK;
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
        if let Some(address) = beyond_this_machine(&Status::take(&mut server.clone()))
            && let Some(said) = server.said("status_listen")
        {
            let mistake = Mistake::of(said, format!("{address}: {NOT_LOOPBACK}"));
            self.problems.push(mistake.into());
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
mod tests;
