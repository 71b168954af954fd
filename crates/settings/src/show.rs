//! What holds in the end, and who has said it, in the form of a file: it can be read back.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Write;

use crate::declaration::{Declaration, Form};
use crate::said::Layers;

/// Values are padded to this, so that what they come from stands below each other.
const COLUMN: usize = 44;

/// The table `name`, with every option that `is_of` it: its value, and behind it where that comes from.
pub fn table(name: &str, layers: &Layers, is_of: impl Fn(&Declaration) -> bool) -> String {
    let mut file = format!("[{name}]\n");
    for option in crate::all().filter(|option| is_of(option)) {
        let said = layers.said(option.key).map(|said| said.values.clone());
        let default = || option.default_for(layers.entry()).map(|default| vec![default.into()]);
        let line = match (said.or_else(default), option.form) {
            (Some(values), _) => format!("{} = {}", option.key, value(option, &values)),
            (None, Form::Switch | Form::SwitchOrValue) => format!("{} = false", option.key),
            (None, Form::List) => format!("{} = []", option.key),
            (None, Form::Table) => format!("{} = {{}}", option.key),
            (None, Form::One) => format!("# {} is unset", option.key),
        };
        let places: Vec<_> = layers.places(option.key).map(|place| place.table()).collect();
        let origin = match places.is_empty() {
            false => places.join(", "),
            true if line.starts_with('#') && !option.otherwise.is_empty() => format!("default: {}", option.otherwise),
            true => "default".to_owned(),
        };
        let _infallible = writeln!(file, "{line:COLUMN$} # {origin}");
    }
    file
}

/// A value as a file writes it.
fn value(option: &Declaration, values: &[OsString]) -> String {
    let texts: Vec<_> = values.iter().map(|value| value.to_string_lossy()).collect();
    match (option.form, texts.as_slice()) {
        (Form::Switch | Form::SwitchOrValue, []) => "true".to_owned(),
        (Form::Switch, [text, ..]) => text.clone().into_owned(),
        (Form::SwitchOrValue, [text, ..]) if ["true", "false"].contains(&text.as_ref()) => text.clone().into_owned(),
        (Form::SwitchOrValue, texts) => scalar(texts.last().map_or("", AsRef::as_ref)),
        (Form::One, texts) => scalar(texts.last().map_or("", AsRef::as_ref)),
        (Form::List, texts) => {
            let items: Vec<_> = texts.iter().map(|text| string(text)).collect();
            format!("[{}]", items.join(", "))
        }
        (Form::Table, texts) => pairs(texts),
    }
}

/// In the order of their names; of one that was said twice, the last counts.
fn pairs(texts: &[Cow<'_, str>]) -> String {
    let pairs: BTreeMap<&str, &str> = texts.iter().filter_map(|text| text.split_once('=')).collect();
    if pairs.is_empty() {
        return "{}".to_owned();
    }
    let pairs: Vec<_> = pairs
        .iter()
        .map(|(name, value)| format!("{} = {}", key(name), string(value)))
        .collect();
    format!("{{ {} }}", pairs.join(", "))
}

/// A name in front of an equals sign, or of a table.
pub fn key(name: &str) -> String {
    let is_bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    match !name.is_empty() && name.chars().all(is_bare) {
        true => name.to_owned(),
        false => string(name),
    }
}

/// A number as one, unless it begins with a zero: that is none in TOML, and no decimal one to us.
fn scalar(text: &str) -> String {
    let is_number = text.parse::<i64>().is_ok_and(|number| number.to_string() == text);
    if is_number { text.to_owned() } else { string(text) }
}

/// TOML's basic string.
fn string(text: &str) -> String {
    let mut written = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => written.extend(['\\', c]),
            '\n' => written.push_str("\\n"),
            '\t' => written.push_str("\\t"),
            c if c.is_control() => {
                let _infallible = write!(written, "\\u{:04X}", u32::from(c));
            }
            c => written.push(c),
        }
    }
    written.push('"');
    written
}
