# Asked of an interpreter before anything else: who are you? Must run on every Python there is, so that one that is too
# old gets a clear message; the answer is one line of JSON.
import sys
if sys.path and sys.path[0] == "":
    del sys.path[0]  # nothing of the current directory may stand in for the standard library
import json
import sysconfig


def is_text(path):
    try:
        path.encode("utf-8")
        return True
    except (AttributeError, UnicodeError):
        return False


variable = sysconfig.get_config_var
print(json.dumps({
    "wsgi_fpm_probe": 1,
    "version": list(sys.version_info[:3]),
    "full_version": sys.version,
    "implementation": getattr(getattr(sys, "implementation", None), "name", "unknown"),
    "executable": sys.executable,
    "prefix": sys.prefix,
    "base_prefix": getattr(sys, "base_prefix", sys.prefix),
    "shared": bool(variable("Py_ENABLE_SHARED")),
    "libdir": variable("LIBDIR"),
    "multiarch": variable("MULTIARCH"),
    "soname": variable("INSTSONAME"),
    "library": variable("LDLIBRARY"),
    "gil_disabled": bool(variable("Py_GIL_DISABLED")),
    "platform": sysconfig.get_platform(),
    "path": [entry for entry in sys.path if is_text(entry)],
}))
