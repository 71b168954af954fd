"""httpbin as it comes from PyPI."""

from httpbin import app as application

__all__ = ["application"]
