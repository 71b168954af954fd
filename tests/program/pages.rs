//! Manual pages as man reads them, and completions as shells do them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::run::program;
use crate::support::installed;

#[test]
fn whoever_has_read_enough_hears_of_no_error() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = program();
    command.args(["completions", "bash"]).stdout(writer);
    let output = command.output().unwrap();
    assert_eq!(
        (output.status.code(), String::from_utf8(output.stderr).unwrap()),
        (Some(141), String::new())
    );
}

/// What `scripts/pages.sh` writes, and files to complete.
struct Stage {
    directory: TempDir,
}

const FILE: &str =
    "[pool.blog]\napp = \"blog\"\nlisten = \"/run/b.sock\"\n[pool.shop]\napp = \"shop\"\nlisten = \"/run/s.sock\"\n";

impl Stage {
    fn new() -> Self {
        let directory = TempDir::with_prefix("wsgi-fpm-").unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/pages.sh");
        let mut command = Command::new(script);
        command.arg(directory.path().join("share")).arg(program().get_program());
        assert!(command.status().unwrap().success());
        fs::create_dir(directory.path().join("work")).unwrap();
        fs::write(directory.path().join("work/mysite.py"), "").unwrap();
        fs::write(directory.path().join("work/pools.toml"), FILE).unwrap();
        Self { directory }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn pages(&self) -> Vec<PathBuf> {
        let files = |folder: &str| {
            fs::read_dir(self.path(folder))
                .unwrap()
                .map(|file| file.unwrap().path())
        };
        files("share/man/man1").chain(files("share/man/man5")).collect()
    }

    /// A shell with the program on its PATH, in the directory with files to complete.
    fn shell(&self, shell: &str) -> Command {
        let mut command = Command::new(shell);
        let built = PathBuf::from(program().get_program());
        let path = std::env::var("PATH").unwrap();
        command
            .env("PATH", format!("{}:{path}", built.parent().unwrap().display()))
            .env("HOME", self.directory.path())
            .env("TERM", "vt100")
            .env_remove("XDG_CONFIG_HOME")
            .env_remove("XDG_DATA_HOME")
            .current_dir(self.path("work"));
        command
    }
}

#[track_caller]
fn text(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Lines and what each has to be completed to.
const CASES: &[(&str, &str)] = &[
    ("wsgi-fpm ser", "serve"),
    ("wsgi-fpm serve --request-t", "--request-timeout"),
    ("wsgi-fpm serve my", "mysite.py"),
    ("wsgi-fpm serve app --preload a", "auto"),
    ("wsgi-fpm check -c po", "pools.toml"),
    ("wsgi-fpm check -c pools.toml --show sh", "shop"),
    ("wsgi-fpm config ng", "nginx"),
    ("wsgi-fpm completions fi", "fish"),
];

#[test]
fn pages_are_for_everybody_and_always_the_same() {
    use std::os::unix::fs::PermissionsExt;
    let (one, other) = (Stage::new(), Stage::new());
    let pages = one.pages();
    assert!(pages.len() >= 10, "{pages:?}");
    for page in &pages {
        let below = page.strip_prefix(one.directory.path()).unwrap();
        assert_eq!(
            fs::read(page).unwrap(),
            fs::read(other.path(below.to_str().unwrap())).unwrap()
        );
        assert_eq!(page.metadata().unwrap().permissions().mode() & 0o777, 0o644);
    }
}

#[test]
fn man_has_nothing_to_say_against_the_pages() {
    if !installed::man() {
        return;
    }
    let stage = Stage::new();
    for page in stage.pages() {
        let output = Command::new("man")
            .args(["--warnings", "-l"])
            .arg(&page)
            .env("MANWIDTH", "100")
            .env("LC_ALL", "C.UTF-8")
            .output()
            .unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    }
    let found = Command::new("man")
        .arg("-M")
        .arg(stage.path("share/man"))
        .args(["-w", "wsgi-fpm-ping"])
        .output();
    assert!(found.unwrap().status.success());
}

#[test]
fn mandoc_has_nothing_to_say_against_the_pages() {
    if !installed::mandoc() {
        return;
    }
    // A page has no date, or the same sources would give another one tomorrow. clap_mangen breaks lines once more than it needs to.
    let allowed = [
        "missing date, using \"\"",
        "skipping paragraph macro: br ",
        "input text line longer than 80 bytes",
    ];
    let output = Command::new("mandoc")
        .args(["-T", "lint"])
        .args(Stage::new().pages())
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let others: Vec<_> = said
        .lines()
        .filter(|line| !allowed.iter().any(|allowed| line.contains(allowed)))
        .collect();
    assert!(others.is_empty(), "{others:?}");
}

#[test]
fn bash_completes() {
    let stage = Stage::new();
    for (line, expected) in CASES {
        let script = r#"
            source "$1"
            function=$(complete -p wsgi-fpm | sed 's/.* -F \([^ ]*\).*/\1/')
            read -ra COMP_WORDS <<<"$2"
            COMP_CWORD=$((${#COMP_WORDS[@]} - 1)) COMP_LINE=$2 COMP_POINT=${#2}
            "$function" wsgi-fpm "${COMP_WORDS[-1]}" "${COMP_WORDS[-2]}" 2>/dev/null
            # Where there is nothing, the shell takes files: -o default.
            [ ${#COMPREPLY[@]} -ne 0 ] || COMPREPLY=($(compgen -f -- "${COMP_WORDS[-1]}"))
            printf '%s\n' "${COMPREPLY[@]}"
        "#;
        let mut bash = stage.shell("bash");
        bash.args(["--norc", "-c", script, "bash"]);
        let offered = text(
            bash.arg(stage.path("share/bash-completion/completions/wsgi-fpm"))
                .arg(line),
        );
        assert_eq!(offered.trim(), *expected, "{line}");
    }
}

#[test]
fn fish_completes() {
    if !installed::fish() {
        return;
    }
    let stage = Stage::new();
    for (line, expected) in CASES {
        let mut fish = stage.shell("fish");
        fish.args(["--no-config", "-c", "source $argv[1]; complete -C $argv[2]"]);
        let offered = text(
            fish.arg(stage.path("share/fish/vendor_completions.d/wsgi-fpm.fish"))
                .arg(line),
        );
        let words: Vec<_> = offered.lines().filter_map(|line| line.split('\t').next()).collect();
        assert_eq!(words, [*expected], "{line}");
    }
}

/// Types into a real zsh, and looks at what stands on its line.
#[test]
fn zsh_completes() {
    if !installed::zsh() {
        return;
    }
    let stage = Stage::new();
    let script = r#"
        zmodload zsh/zpty
        until_there() {
            local at
            for at in {1..2000}; do
                [[ ! -e $1 ]] || return 0
                zpty -rt z said && all+=$said
                sleep 0.01
            done
            print -r -- "no $1: $all" >&2
            exit 1
        }
        zpty -b z zsh -f -i
        zpty -w z "fpath=($1 \$fpath); autoload -Uz compinit; compinit -D -u"
        zpty -w z 'show() { print -r -- "$BUFFER" >line.new; mv line.new line; BUFFER= }; zle -N show; bindkey "^X" show'
        zpty -w z 'bindkey "^I" complete-word; : >ready'
        until_there ready
        shift
        for line; do
            zpty -w -n z "$line"$'\t\x18'
            until_there line
            cat line
            rm line
        done
        zpty -d z
    "#;
    let mut zsh = stage.shell("zsh");
    zsh.args(["-f", "-c", script, "zsh"])
        .arg(stage.path("share/zsh/site-functions"));
    let said = text(zsh.args(CASES.iter().map(|(line, _)| line)));
    let lines: Vec<_> = said.lines().map(str::trim_end).collect();
    for ((typed, expected), line) in CASES.iter().zip(lines) {
        let (before, _) = typed.rsplit_once(' ').unwrap();
        assert_eq!(line.trim_end_matches('='), format!("{before} {expected}"), "{said}");
    }
}
