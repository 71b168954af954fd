//! What is known of one option, and the macro that declares a section of them.

use std::ffi::OsStr;

/// One option.
#[derive(Debug, Clone, Copy)]
pub struct Declaration {
    /// As a file writes it: `request_timeout`. The command line has dashes instead.
    pub key: &'static str,
    /// Title of its section.
    pub section: &'static str,
    /// Lines of documentation. Up to the first empty one it is the help of the command line.
    pub doc: &'static [&'static str],
    /// When somebody would change it.
    pub when: &'static str,
    /// What stands for the value in help and documentation: `TIME`. Empty for a switch.
    pub value: &'static str,
    pub form: Form,
    /// The words that it takes, each with its meaning; none if it takes anything else.
    pub choices: &'static [Choice],
    /// As it would be written; `None` if nothing is, or if it depends on something (then `otherwise` says on what).
    pub default: Option<&'static str>,
    /// The same where a web server starts the process.
    pub default_of_scripts: Option<&'static str>,
    /// What holds if nobody has said anything and there is no default that could be written.
    pub otherwise: &'static str,
    pub scope: Scope,
    pub entries: Entries,
    /// Keys of options that contradict this one, as it does them.
    pub excludes: &'static [&'static str],
    pub path: PathForm,
    /// A file may write a table in place of the value: `min` and `max` for the range MIN..MAX, and these keys, each with that of
    /// the option that it is.
    pub table: &'static [(&'static str, &'static str)],
    /// Whether one value can be read.
    pub check: fn(&OsStr) -> Result<(), String>,
}

/// How many values there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// None: it is there, or not.
    Switch,
    /// None, or one: typed behind an equals sign, so that what follows is no value.
    SwitchOrValue,
    One,
    /// Any number; a file writes an array.
    List,
    /// Any number of `NAME=VALUE`; a file writes a table.
    Table,
}

/// How values are relative to the directory of the file that says them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathForm {
    /// Not at all.
    None,
    Path,
    /// A bare name is a command on PATH, unless there is a file of that name: `python = "python3.12"`.
    PathOrCommand,
    /// `unix:` may stand in front, and a value without a slash is none.
    Address,
    /// A file for a log; words are none.
    Destination,
}

/// A word that an option takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choice {
    pub word: &'static str,
    pub meaning: &'static str,
}

/// What a value is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// The whole program; `[server]` in a file.
    Server,
    /// The program, and each pool may say something else.
    ServerAndPool,
    Pool,
    /// The sockets of a pool.
    Listener,
    /// A site of a web server; nothing of it is known to the pool.
    Site,
}

/// The ways to start an application that an option is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entries(u8);

impl Entries {
    /// `wsgi-fpm serve APP`.
    pub const SERVE: Self = Self(1);
    /// A pool of the configuration file.
    pub const POOL: Self = Self(2);
    pub const DEV: Self = Self(4);
    /// A process that a web server has started with a listening socket.
    pub const FASTCGI: Self = Self(8);
    /// A process for one CGI request.
    pub const CGI: Self = Self(16);

    /// All that have a supervisor of their own for the web server to connect to.
    pub const SERVED: Self = Self::SERVE.or(Self::POOL);
    /// All that a web server starts.
    pub const SCRIPTS: Self = Self::FASTCGI.or(Self::CGI);
    /// All but `dev`.
    pub const PRODUCTION: Self = Self::SERVED.or(Self::SCRIPTS);
    pub const ALL: Self = Self::PRODUCTION.or(Self::DEV);
    pub const NONE: Self = Self(0);

    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// For a place where only a number can stand.
    pub const fn bits(self) -> u8 {
        self.0
    }

    pub const fn from_bits(bits: u8) -> Self {
        Self(bits)
    }

    /// Whether it is for any of these.
    pub const fn has(self, entries: Self) -> bool {
        self.0 & entries.0 != 0
    }
}

impl Declaration {
    /// What an option is unless its declaration says something else.
    pub(crate) const fn new(
        key: &'static str,
        section: &'static str,
        doc: &'static [&'static str],
        shape: Shape,
    ) -> Self {
        Self {
            key,
            section,
            doc,
            when: "",
            value: shape.value,
            form: shape.form,
            choices: shape.choices,
            default: None,
            default_of_scripts: None,
            otherwise: "",
            scope: Scope::Pool,
            entries: Entries::ALL,
            excludes: &[],
            path: PathForm::None,
            table: &[],
            check: shape.check,
        }
    }

    /// As it is typed, without its dashes: `request-timeout`.
    pub fn long(&self) -> String {
        self.key.replace('_', "-")
    }

    /// One sentence.
    pub fn help(&self) -> String {
        let lines = self
            .doc
            .iter()
            .map(|line| line.trim())
            .take_while(|line| !line.is_empty());
        lines.collect::<Vec<_>>().join(" ")
    }

    /// Everything that there is to say, as one paragraph: the help and what stands below it.
    pub fn effect(&self) -> String {
        let mut text = String::new();
        for line in self.doc.iter().map(|line| line.trim()) {
            match line {
                // A new sentence.
                "" if !text.ends_with(['.', '|']) => text.push('.'),
                "" => {}
                line => {
                    if !text.is_empty() {
                        text.push(' ');
                    }
                    text.push_str(line);
                }
            }
        }
        text
    }

    /// The default as it would be written, for a process that is started in this way.
    pub fn default_for(&self, entry: Entries) -> Option<&'static str> {
        match self.default_of_scripts {
            Some(default) if Entries::SCRIPTS.has(entry) => Some(default),
            _ => self.default,
        }
    }
}

/// What the type of an option says of it.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    pub form: Form,
    pub value: &'static str,
    pub choices: &'static [Choice],
    pub check: fn(&OsStr) -> Result<(), String>,
}

/// Declares a section: a structure with a [`Setting`](crate::Setting) for each option, and the options' declarations.
///
/// The documentation of a field is that of the option. Behind the type stand the fields of [`Declaration`] that are not as usual.
macro_rules! section {
    (
        $(#[doc = $about:literal])*
        $name:ident = $title:literal;
        $(
            $(#[doc = $doc:literal])*
            $key:ident: $type:ty { $($field:ident: $said:expr),* $(,)? }
        )*
    ) => {
        $(#[doc = $about])*
        #[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
        pub struct $name {
            $(
                $(#[doc = $doc])*
                pub $key: $crate::Setting<$type>,
            )*
        }

        impl $name {
            pub const TITLE: &'static str = $title;

            pub const OPTIONS: &'static [$crate::Declaration] = &[$(*Self::$key(),)*];

            $(
                /// The declaration of the option that is called so.
                pub const fn $key() -> &'static $crate::Declaration {
                    const DECLARED: $crate::Declaration = $crate::Declaration {
                        $($field: $said,)*
                        ..$crate::Declaration::new(
                            stringify!($key),
                            $title,
                            &[$($doc),*],
                            <$type as $crate::values::Values>::SHAPE,
                        )
                    };
                    &DECLARED
                }
            )*

            /// What the layers say of this section. What can't be read is among their mistakes, and the default holds.
            pub fn take(layers: &mut $crate::Layers) -> Self {
                Self { $($key: layers.setting(stringify!($key)),)* }
            }
        }

        /// As if nobody had said anything, in a pool of `wsgi-fpm serve`.
        impl Default for $name {
            fn default() -> Self {
                Self::take(&mut $crate::Layers::new($crate::Entries::SERVE))
            }
        }
    };
}
pub(crate) use section;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_numbers_of_their_own_and_sets_of_them() {
        use Entries as E;
        let bits = [E::SERVE, E::POOL, E::DEV, E::FASTCGI, E::CGI, E::ALL].map(Entries::bits);
        assert_eq!(bits, [1, 2, 4, 8, 16, 31]);
        assert_eq!(E::from_bits(24), E::SCRIPTS);
        assert_eq!(E::SERVE.or(E::SERVED), E::SERVED, "one that is among them already");
        assert!(E::SERVED.has(E::ALL) && !E::SERVED.has(E::SCRIPTS) && !E::NONE.has(E::ALL));
    }

    #[test]
    fn paragraphs_become_sentences() {
        let effect = |doc| {
            let option = crate::find("threads").unwrap();
            Declaration { doc, ..*option }.effect()
        };
        assert_eq!(effect(&[" One", " two", "", " Three"]), "One two. Three");
        assert_eq!(effect(&[" One.", "", " Two"]), "One. Two");
        assert_eq!(effect(&[" One |", "", " Two"]), "One | Two");
    }
}
