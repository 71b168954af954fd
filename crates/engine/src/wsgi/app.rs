//! Finds and loads the application.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use contract::denied::{Wish, denied};
use pyo3::exceptions::{PyAttributeError, PyImportError, PyPermissionError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyList, PyModule, PyType};

use super::type_name::type_name;

/// What the administrator typed: `module:callable`, `module`, `path/to/file.py[:callable]` or `module:factory()`.
struct Target<'a> {
    source: Source<'a>,
    /// Attribute, perhaps dotted; `None`: `application`, then `app`.
    attribute: Option<&'a str>,
    /// The attribute is called and returns the application.
    is_factory: bool,
}

enum Source<'a> {
    Module(&'a str),
    File(PathBuf),
}

impl<'a> Target<'a> {
    fn parse(text: &'a str) -> Self {
        let (source, attribute) = match text.rsplit_once(':') {
            Some((source, attribute)) if !attribute.contains('/') => (source, Some(attribute)),
            _ => (text, None),
        };
        let (attribute, is_factory) = match attribute {
            Some(attribute) => match attribute.strip_suffix("()") {
                Some(factory) => (Some(factory), true),
                None => (Some(attribute), false),
            },
            None => (None, false),
        };
        let is_file = source.contains('/') || source.ends_with(".py") || Path::new(source).is_file();
        let source = if is_file {
            Source::File(source.into())
        } else {
            Source::Module(source)
        };
        Self {
            source,
            attribute: attribute.filter(|name| !name.is_empty()),
            is_factory,
        }
    }
}

/// Imports the application; `sys.path` and the working directory are as they should be.
///
/// # Errors
/// Whatever the import raises, and ImportError, AttributeError or TypeError that say what was looked for.
pub fn load<'py>(py: Python<'py>, text: &str) -> PyResult<Bound<'py, PyAny>> {
    let target = Target::parse(text);
    let module = match &target.source {
        Source::Module("") => return Err(PyValueError::new_err(format!("no module is named in {text:?}"))),
        Source::Module(name) => py.import(*name)?,
        Source::File(path) => import_file(py, path)?,
    };
    let application = match target.attribute {
        Some(attribute) => find_attribute(&module, attribute)?,
        None => match (module.getattr_opt("application")?, module.getattr_opt("app")?) {
            (Some(application), _) | (None, Some(application)) => application,
            (None, None) => {
                return Err(PyAttributeError::new_err(format!(
                    "{} has neither \"application\" nor \"app\": name the callable, as in {text}:NAME",
                    describe(&module)
                )));
            }
        },
    };
    let application = if target.is_factory {
        application.call0()?
    } else {
        application
    };
    if !application.is_callable() {
        return Err(PyTypeError::new_err(format!(
            "{text} is no WSGI application but of type {}",
            type_name(&application)
        )));
    }
    if is_asgi(&application) {
        return Err(PyTypeError::new_err(format!(
            "{text} is an ASGI application, and this serves WSGI: name the framework's WSGI application, or wrap it by \
             a2wsgi.ASGIMiddleware"
        )));
    }
    Ok(application)
}

/// inspect.CO_COROUTINE: the function was made by `async def`.
const CO_COROUTINE: u32 = 0x80;

/// Whether the application is for ASGI beyond doubt: it is a coroutine function, or takes what ASGI calls with under the
/// names that its specification gives. It may be an object of a class with such a method, or that class (ASGI 2).
fn is_asgi(application: &Bound<'_, PyAny>) -> bool {
    // The method of an object is its class's; a class that defines none has that of its own class, which is C.
    let method = match application.is_instance_of::<PyType>() {
        true => application.getattr("__call__"),
        false => application.get_type().getattr("__call__"),
    };
    let is_code_for_it = |function: &Bound<'_, PyAny>| -> PyResult<bool> {
        let code = function.getattr("__code__")?;
        let flags: u32 = code.getattr("co_flags")?.extract()?;
        let count: usize = code.getattr("co_argcount")?.extract()?;
        let names: Vec<String> = code.getattr("co_varnames")?.extract()?;
        let names = names
            .iter()
            .take(count)
            .map(String::as_str)
            .skip_while(|name| *name == "self");
        Ok(flags & CO_COROUTINE != 0 || names.eq(["scope", "receive", "send"]))
    };
    // Whatever is no function of Python's is taken as it is.
    [Some(application), method.as_ref().ok()]
        .into_iter()
        .flatten()
        .any(|function| is_code_for_it(function).unwrap_or(false))
}

fn find_attribute<'py>(module: &Bound<'py, PyModule>, attribute: &str) -> PyResult<Bound<'py, PyAny>> {
    let mut found = module.clone().into_any();
    for name in attribute.split('.') {
        found = found
            .getattr_opt(name)?
            .ok_or_else(|| PyAttributeError::new_err(format!("{} has no {attribute:?}", describe(module))))?;
    }
    Ok(found)
}

fn describe(module: &Bound<'_, PyModule>) -> String {
    let file = module
        .getattr("__file__")
        .and_then(|file| file.extract::<String>())
        .unwrap_or_default();
    let name = module.name().map_or_else(|_| String::new(), |name| name.to_string());
    if file.is_empty() {
        format!("module {name}")
    } else {
        format!("module {name} ({file})")
    }
}

/// A script by its path: whatever it is called, with its directory first on `sys.path`, as `python file.py` has it.
fn import_file<'py>(py: Python<'py>, path: &Path) -> PyResult<Bound<'py, PyModule>> {
    let path = std::fs::canonicalize(path).map_err(|error| unreadable(path, &error))?;
    if let Some(directory) = path.parent() {
        prepend_path(py, directory)?;
    }
    let is_module = path.extension().is_some_and(|extension| extension == "py");
    // The whole name of another file: app.fcgi may import app.py, which lies beside it.
    let name = if is_module { path.file_stem() } else { path.file_name() };
    let name = name.unwrap_or_default().to_string_lossy().replace('.', "_");
    match is_module {
        true => import_module(py, &path, &name),
        false => compile(py, &path, &name),
    }
}

/// A file that can't be read, and which permission is missing, if that is why.
fn unreadable(path: &Path, error: &dyn std::fmt::Display) -> PyErr {
    let path_shown = path.display();
    PyImportError::new_err(match denied(path, Wish::Read) {
        Some(denied) => format!("application file {path_shown}: {denied}"),
        None => format!("application file {path_shown}: {error}"),
    })
}

/// A file of Python's own kind, through its cache of compiled files.
fn import_module<'py>(py: Python<'py>, path: &Path, name: &str) -> PyResult<Bound<'py, PyModule>> {
    // What importlib.util and importlib.machinery hand out, but importing those costs CGI milliseconds.
    let bootstrap = py.import("_frozen_importlib")?;
    let loader = py
        .import("_frozen_importlib_external")?
        .getattr("SourceFileLoader")?
        .call1((name, path.as_os_str()))?;
    let spec = bootstrap.getattr("ModuleSpec")?.call1((name, &loader))?;
    spec.setattr("origin", path.as_os_str())?;
    spec.setattr("has_location", true)?;
    let module = bootstrap.call_method1("module_from_spec", (&spec,))?;
    // Registered first: a module may import itself by name, and pickle looks it up.
    py.import("sys")?.getattr("modules")?.set_item(name, &module)?;
    loader.call_method1("exec_module", (&module,)).map_err(|error| {
        let is_denied = error.is_instance_of::<PyPermissionError>(py) && denied(path, Wish::Read).is_some();
        if is_denied { unreadable(path, &error) } else { error }
    })?;
    Ok(module.cast_into::<PyModule>()?)
}

/// Any other file. Not through the cache, which knows no extensions: app.cgi and app.fcgi would share an entry. Not by
/// `compile()` either, which makes the classes of the module `ast` first: two milliseconds.
fn compile<'py>(py: Python<'py>, path: &Path, name: &str) -> PyResult<Bound<'py, PyModule>> {
    let source = std::fs::read(path).map_err(|error| unreadable(path, &error))?;
    let source = CString::new(source).map_err(|_| unreadable(path, &"it has a NUL byte"))?;
    let file = CString::new(path.as_os_str().as_bytes()).map_err(|error| unreadable(path, &error))?;
    let name = CString::new(name).map_err(|error| unreadable(path, &error))?;
    PyModule::from_code(py, &source, &file, &name)
}

/// Puts `directory` first on `sys.path`, unless it is there.
pub fn prepend_path(py: Python<'_>, directory: &Path) -> PyResult<()> {
    let path = py.import("sys")?.getattr("path")?.cast_into::<PyList>()?;
    let directory = directory.to_string_lossy();
    let first = path.get_item(0).ok().and_then(|first| first.extract::<String>().ok());
    if first.as_deref() == Some(&*directory) {
        return Ok(());
    }
    path.insert(0, &*directory)
}

/// `wsgiref.validate` around the application.
pub fn validated<'py>(application: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    application
        .py()
        .import("wsgiref.validate")?
        .getattr("validator")?
        .call1((application,))
}
