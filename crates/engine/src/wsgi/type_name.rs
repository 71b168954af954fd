//! How messages name what an application has given in place of something else.

use pyo3::prelude::*;

/// Name of an object's type, for messages.
pub fn type_name(object: &Bound<'_, PyAny>) -> String {
    object
        .get_type()
        .name()
        .map_or_else(|_| "object".into(), |name| name.to_string_lossy().into_owned())
}
