//! A command line as somebody would type it into a shell.

use settings::{Form, Said};

/// One word of a shell's command line, in quotes if it needs them.
pub fn shell_word(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:=,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// What has been typed: the application, then the options.
pub fn typed(said: &[Said]) -> String {
    let mut words = Vec::new();
    for said in said {
        let is_app = said.option.key == "app";
        if said.values.is_empty() {
            words.push(format!("--{}", said.option.long()));
        }
        for value in said.values.iter().map(|value| value.to_string_lossy()) {
            match is_app {
                true => words.insert(0, shell_word(&value)),
                false if said.option.form == Form::SwitchOrValue => {
                    words.push(format!("--{}={}", said.option.long(), shell_word(&value)));
                }
                false => words.push(format!("--{} {}", said.option.long(), shell_word(&value))),
            }
        }
    }
    words.join(" ")
}
