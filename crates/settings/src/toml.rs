//! A table of a file, or a script's block, as what somebody has said.

use std::ffi::OsString;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use crate::declaration::{Declaration, Form, PathForm};
use crate::said::{Mistake, Origin, Place, Said};
use crate::values::Destination;

/// The text of a file, or a part of it.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    pub text: &'a str,
    /// Number of its first line in the file.
    pub first_line: usize,
    /// Where relative paths begin.
    pub directory: &'a Path,
}

/// What a source has said.
#[derive(Debug, Default)]
pub struct Spoken {
    pub said: Vec<Said>,
    pub mistakes: Vec<Mistake>,
}

/// The ends of a range.
const RANGE: [&str; 2] = ["min", "max"];
/// Names that are spelt at least so much like another are taken for a slip of the pen.
const SIMILAR: f64 = 0.75;

impl<'a> Source<'a> {
    /// The place of what stands at `span`.
    pub fn place(&self, origin: &Origin, span: std::ops::Range<usize>) -> Place {
        let before = &self.text.as_bytes()[..span.start.min(self.text.len())];
        let line = self.first_line + before.iter().filter(|&&byte| byte == b'\n').count();
        Place {
            origin: origin.clone(),
            line: Some(line),
            span,
        }
    }

    /// # Errors
    /// It is no TOML.
    pub fn parse(&self, origin: &Origin) -> Result<Spanned<DeTable<'a>>, Box<Mistake>> {
        DeTable::parse(self.text).map_err(|error| {
            let place = self.place(origin, error.span().unwrap_or(0..0));
            Box::new(Mistake::at(place, error.message()))
        })
    }

    /// Reads a table of options: those that `is_known` tells apart from others.
    pub fn read(&self, origin: &Origin, table: &DeTable<'_>, is_known: impl Fn(&Declaration) -> bool) -> Spoken {
        let mut spoken = Spoken::default();
        for (key, value) in table {
            let place = self.place(origin, key.span());
            let name = key.get_ref();
            match crate::find(name).filter(|option| is_known(option)) {
                Some(option) => self.read_option(option, value, place, &mut spoken),
                None => {
                    let known = crate::all().filter(|option| is_known(option)).map(|option| option.key);
                    spoken.mistakes.push(unknown(place, "option", name, known));
                }
            }
        }
        spoken
    }

    fn read_option(
        &self,
        option: &'static Declaration,
        value: &Spanned<DeValue<'_>>,
        place: Place,
        spoken: &mut Spoken,
    ) {
        let at_value = |message: String| Mistake {
            place: self.place(&place.origin, value.span()),
            option: Some(option),
            message,
            help: None,
        };
        if let (DeValue::Table(parts), false) = (value.get_ref(), option.table.is_empty()) {
            return self.read_parts(option, parts, place, spoken);
        }
        let values = match texts(option, value.get_ref()) {
            Ok(values) => values,
            Err(message) => return spoken.mistakes.push(at_value(message)),
        };
        let values: Vec<_> = values.iter().map(|value| self.resolve(option.path, value)).collect();
        for value in &values {
            if let Err(message) = (option.check)(value) {
                return spoken.mistakes.push(at_value(message));
            }
        }
        spoken.said.push(Said { option, values, place });
    }

    /// A table in place of one value: a range, and options beside it.
    fn read_parts(&self, option: &'static Declaration, parts: &DeTable<'_>, place: Place, spoken: &mut Spoken) {
        let mut range = ["1".to_owned(), "auto".to_owned()];
        for (key, value) in parts {
            let at_key = self.place(&place.origin, key.span());
            let name: &str = key.get_ref();
            let further = option.table.iter().find(|(part, _)| *part == name);
            match (RANGE.iter().position(|end| *end == name), scalar(value.get_ref())) {
                (Some(end), Some(text)) => range[end] = text,
                (Some(_), None) => spoken.mistakes.push(Mistake {
                    option: Some(option),
                    ..Mistake::at(at_key, format!("write one number for {name}"))
                }),
                (None, _) => match further.and_then(|(_, key)| crate::find(key)) {
                    Some(option) => self.read_option(option, value, at_key, spoken),
                    None => {
                        let known = option.table.iter().map(|(part, _)| *part).chain(RANGE);
                        spoken.mistakes.push(unknown(at_key, "key", name, known));
                    }
                },
            }
        }
        let text = OsString::from(range.join(".."));
        match (option.check)(&text) {
            Ok(()) => spoken.said.push(Said {
                option,
                values: vec![text],
                place,
            }),
            Err(message) => spoken.mistakes.push(Mistake {
                option: Some(option),
                ..Mistake::at(place, message)
            }),
        }
    }

    fn resolve(&self, form: PathForm, value: &str) -> OsString {
        let path = || self.directory.join(value);
        match form {
            PathForm::Path if !value.is_empty() => path().into(),
            PathForm::PathOrCommand if value.contains('/') || path().exists() => path().into(),
            PathForm::Address if let Some(path) = value.strip_prefix("unix:") => {
                let mut address = OsString::from("unix:");
                address.push(self.directory.join(path));
                address
            }
            PathForm::Address if value.contains('/') && !value.contains("://") => path().into(),
            PathForm::Destination if Destination::is_path(value) => path().into(),
            _ => value.into(),
        }
    }
}

/// A name that nothing has, with the nearest one that something has.
pub fn unknown<'n>(place: Place, what: &str, name: &str, known: impl Iterator<Item = &'n str>) -> Mistake {
    // As it is typed, some know it.
    let written = name.replace('-', "_");
    let similarity = |known: &str| strsim::jaro_winkler(&written, known);
    let nearest = known
        .map(|known| (similarity(known), known))
        .filter(|(similarity, _)| *similarity >= SIMILAR)
        .max_by(|one, other| one.0.total_cmp(&other.0));
    let mistake = Mistake::at(place, format!("there is no {what} {name:?}"));
    match nearest {
        Some((_, nearest)) => mistake.with_help(format!("did you mean {nearest}?")),
        None => mistake,
    }
}

/// The values as they would be typed.
fn texts(option: &Declaration, value: &DeValue<'_>) -> Result<Vec<String>, String> {
    let one = |value: &DeValue<'_>| {
        scalar(value).ok_or_else(|| format!("{}; this is of type {}", wanted(option), value.type_str()))
    };
    match (option.form, value) {
        (Form::Switch | Form::SwitchOrValue, DeValue::Boolean(true)) => Ok(Vec::new()),
        (Form::Switch | Form::SwitchOrValue, DeValue::Boolean(false)) => Ok(vec!["false".to_owned()]),
        (Form::List, DeValue::Array(items)) => items.iter().map(|item| one(item.get_ref())).collect(),
        (Form::Table, DeValue::Table(pairs)) => {
            let pair = |(name, value): (&Spanned<DeString<'_>>, &Spanned<DeValue<'_>>)| {
                Ok(format!("{}={}", name.get_ref(), one(value.get_ref())?))
            };
            pairs.iter().map(pair).collect()
        }
        (Form::SwitchOrValue | Form::One | Form::List, value) => Ok(vec![one(value)?]),
        (Form::Switch | Form::Table, value) => Err(format!("{}; this is of type {}", wanted(option), value.type_str())),
    }
}

fn scalar(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.clone().into_owned()),
        DeValue::Integer(number) if number.radix() == 10 => Some(number.as_str().to_owned()),
        DeValue::Integer(number) if number.radix() == 8 => Some(format!("0o{}", number.as_str())),
        _ => None,
    }
}

/// What the value of an option looks like in a file.
fn wanted(option: &Declaration) -> String {
    match option.form {
        Form::Switch => "write true or false".to_owned(),
        Form::SwitchOrValue => format!("write true, false, or {} = \"...\"", option.key),
        Form::One => format!("write one value, {} = \"...\"", option.key),
        Form::List => format!("write {0} = [\"...\"], or one value", option.key),
        Form::Table => format!("write {} = {{ NAME = \"value\" }}", option.key),
    }
}
