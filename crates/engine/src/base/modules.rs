//! The package `wsgi_fpm`, which any application that is served here can import, installed or not.

use pyo3::prelude::*;
use pyo3::types::PyDict;

/// Name, source, whether it is a package.
const MODULES: [(&str, &str, bool); 2] = [
    (
        "wsgi_fpm",
        include_str!("../../../../python/wsgi_fpm/__init__.py"),
        true,
    ),
    (
        "wsgi_fpm.metrics",
        include_str!("../../../../python/wsgi_fpm/metrics.py"),
        false,
    ),
];

/// Asked by Python for every module that is imported for the first time. It has nothing compiled, or even looked at, before an
/// application wants it: a process for one CGI request is in a hurry.
#[pyclass(frozen)]
struct Finder;

#[pymethods]
impl Finder {
    #[pyo3(signature = (name, path = None, target = None))]
    fn find_spec<'py>(
        slf: &Bound<'py, Self>,
        name: &str,
        path: Option<&Bound<'py, PyAny>>,
        target: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let Some((name, _, is_package)) = find(name) else {
            return Ok(None);
        };
        let py = slf.py();
        if is_package {
            // What an application has under this name goes first, be it a script that is called so. Where it is the package as it
            // was installed, its metrics are still those of the program that runs.
            let others = py.import("_frozen_importlib_external")?.getattr("PathFinder")?;
            let found = others.call_method1("find_spec", (name, path, target))?;
            if !found.is_none() {
                return Ok(Some(found));
            }
        }
        let options = PyDict::new(py);
        options.set_item("origin", format!("<wsgi-fpm: {name}>"))?;
        options.set_item("is_package", is_package)?;
        let spec = py.import("_frozen_importlib")?.getattr("ModuleSpec")?;
        spec.call((name, slf), Some(&options)).map(Some)
    }

    fn create_module(&self, spec: &Bound<'_, PyAny>) -> Option<Py<PyAny>> {
        // Python makes an ordinary one.
        let _ = spec;
        None
    }

    fn exec_module(&self, module: &Bound<'_, PyModule>) -> PyResult<()> {
        let py = module.py();
        let name: String = module.name()?.extract()?;
        let Some((name, source, _)) = find(&name) else {
            return Ok(());
        };
        let builtins = py.import("builtins")?;
        let code = builtins.call_method1("compile", (source, format!("<wsgi-fpm: {name}>"), "exec"))?;
        builtins.call_method1("exec", (code, module.dict()))?;
        Ok(())
    }
}

fn find(name: &str) -> Option<(&'static str, &'static str, bool)> {
    MODULES.into_iter().find(|(module, ..)| *module == name)
}

/// # Errors
/// Python's.
pub fn offer(py: Python<'_>) -> PyResult<()> {
    let finders = py.import("sys")?.getattr("meta_path")?;
    finders.call_method1("insert", (0, Finder))?;
    Ok(())
}
