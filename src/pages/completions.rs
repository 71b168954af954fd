//! What bash, zsh and fish complete. clap_complete knows the options, their words and which values are files; here the names of
//! pools are added, which the program is asked for.

use clap::Command;
use clap_complete::Shell as Generator;

use crate::cli::Shell;

/// Pools of the file that the line names, or of the default one. Wrong files have none.
const BASH_POOLS: &str = r#"_wsgi_fpm_pools() {
    local i file=()
    for ((i = 1; i < COMP_CWORD; i++)); do
        [[ ${COMP_WORDS[i]} != -c && ${COMP_WORDS[i]} != --config ]] || file=(-c "${COMP_WORDS[i + 1]}")
    done
    "${COMP_WORDS[0]}" check "${file[@]}" --show 2>/dev/null | sed -n 's/^\[pool\.\(.*\)\]$/\1/p' | tr -d '"'
}

"#;

const ZSH_POOLS: &str = r#"
_wsgi_fpm_pools() {
    local -a file pools
    local at=${words[(I)(-c|--config)]}
    (( at == 0 )) || file=(-c "${(Q)words[at + 1]}")
    pools=(${(f)"$(wsgi-fpm check $file --show 2>/dev/null | sed -n 's/^\[pool\.\(.*\)\]$/\1/p' | tr -d '"')"})
    compadd -a pools
}
"#;

const FISH_POOLS: &str = r#"function __wsgi_fpm_pools
    set -l words (commandline -opc)
    set -l file
    for i in (seq (count $words))
        if contains -- $words[$i] -c --config
            set file -c $words[(math $i + 1)]
        end
    end
    wsgi-fpm check $file --show 2>/dev/null | string replace -rf '^\[pool\.(.*)\]$' '$1' | string trim -c '"'
end

"#;

pub fn of(shell: Shell, mut command: Command) -> String {
    let mut text = Vec::new();
    let generator = match shell {
        Shell::Bash => Generator::Bash,
        Shell::Zsh => Generator::Zsh,
        Shell::Fish => Generator::Fish,
    };
    clap_complete::generate(generator, &mut command, "wsgi-fpm", &mut text);
    let text = String::from_utf8_lossy(&text).into_owned();
    match shell {
        Shell::Bash => {
            // clap issue 6421, in 4.6.11 still: a program with a dash in its name sets one name for a subcommand and looks for another.
            let text = text.replace("wsgi__subcmd__fpm__", "wsgi__fpm__");
            let text = behind(&text, "--show)", "$(compgen -f \"${cur}\")", BASH_WORDS);
            let text = of_pools(&command).fold(text, |text, name| {
                let mark = format!("        wsgi__fpm__subcmd__{name})");
                behind(&text, &mark, "--help", "--help $(_wsgi_fpm_pools)")
            });
            BASH_POOLS.to_owned() + &text
        }
        Shell::Zsh => {
            let text = behind(&text, "'--show=", ":POOL:_default", ":POOL:_wsgi_fpm_pools");
            let text = of_pools(&command).fold(text, |text, name| {
                let text = behind(&text, &format!("\n({name})\n"), ":pool -- ", ":pool:_pools -- ");
                behind(&text, ":pool:_pools", ":_default'", ":_wsgi_fpm_pools'").replacen(":pool:_pools", ":pool", 1)
            });
            // The first line has to stay the first, and a file that is loaded by itself ends with a call.
            let (first, rest) = text.split_once('\n').unwrap_or((&text, ""));
            format!("{first}\n{ZSH_POOLS}{rest}")
        }
        Shell::Fish => {
            let text = behind(&text, " -l show ", " -r", " -x -a '(__wsgi_fpm_pools)'");
            let pools = of_pools(&command).map(|name| {
                format!(
                    "complete -c wsgi-fpm -n \"__fish_wsgi_fpm_using_subcommand {name}\" -f -a '(__wsgi_fpm_pools)'\n"
                )
            });
            FISH_POOLS.to_owned() + &text + &fish_words(&command) + &pools.collect::<String>()
        }
    }
}

/// Subcommands with the name of a pool as an argument of its own.
fn of_pools(command: &Command) -> impl Iterator<Item = &str> {
    let has_pool = |command: &&Command| command.get_positionals().any(|argument| argument.get_id() == "pool");
    command.get_subcommands().filter(has_pool).map(Command::get_name)
}

/// The words that stand without an option, which clap_complete leaves out for fish: `wsgi-fpm config nginx`.
fn fish_words(command: &Command) -> String {
    let mut lines = String::new();
    for subcommand in command.get_subcommands() {
        for argument in subcommand.get_positionals() {
            for word in argument.get_possible_values() {
                let (name, word) = (subcommand.get_name(), word.get_name());
                lines.push_str(&format!(
                    "complete -c wsgi-fpm -n \"__fish_wsgi_fpm_using_subcommand {name}\" -a \"{word}\"\n"
                ));
            }
        }
    }
    lines
}

const BASH_WORDS: &str = "$(compgen -W \"$(_wsgi_fpm_pools)\" -- \"${cur}\")";

/// `text` with `new` in place of the first `old` behind `mark`.
fn behind(text: &str, mark: &str, old: &str, new: &str) -> String {
    match text.split_once(mark) {
        Some((before, after)) => format!("{before}{mark}{}", after.replacen(old, new, 1)),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pools_are_completed_in_every_shell() {
        for (shell, part) in [
            (Shell::Bash, "$(compgen -W \"$(_wsgi_fpm_pools)\""),
            (Shell::Zsh, "'--show=[Print"),
            (Shell::Zsh, ":POOL:_wsgi_fpm_pools"),
            (Shell::Fish, "-l show"),
            (Shell::Fish, "-x -a '(__wsgi_fpm_pools)'"),
            (
                Shell::Bash,
                "opts=\"-c -h --changed --control --config --json --help $(_wsgi_fpm_pools)",
            ),
            (
                Shell::Zsh,
                "'::pool -- This pool alone \\[default\\: all pools\\]:_wsgi_fpm_pools'",
            ),
            (Shell::Zsh, "':pool -- Whose workers:_wsgi_fpm_pools'"),
            (Shell::Fish, "using_subcommand recycle\" -f -a '(__wsgi_fpm_pools)'"),
        ] {
            assert!(of(shell, crate::pages::command()).contains(part), "{shell:?} {part}");
        }
    }
}
