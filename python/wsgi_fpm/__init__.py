"""wsgi-fpm is a program: this package lets ``python -m wsgi_fpm`` find it, and no application imports it."""
