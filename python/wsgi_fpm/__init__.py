"""What an application may want of wsgi-fpm, which serves it. It need not be installed for that: wsgi-fpm brings it along.

``wsgi_fpm.metrics`` counts, in the ``/metrics`` of wsgi-fpm. ``RequestTimeout`` is raised in a request whose time is over.
Where the package is installed, ``python -m wsgi_fpm`` is the program, and elsewhere than under wsgi-fpm nothing is counted.
"""

try:
    from wsgi_fpm_engine import RequestTimeout
except ImportError:

    class RequestTimeout(BaseException):
        """The request has run longer than its time limit allows; its client has got a 504."""
