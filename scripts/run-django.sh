#!/usr/bin/env bash
# run-django.sh CACHE PORT: the Django example with its database in CACHE, over HTTP on this machine.
set -euo pipefail

cache=$1
port=$2
program=${CARGO_TARGET_DIR:-target}/release/wsgi-fpm
python=$cache/run-venv/bin/python

case $port in
    '' | *[!0-9]*)
        echo "wsgi-fpm: PORT=$port is no number" >&2
        exit 2
        ;;
esac

mkdir -p "$cache/django/media"
export DJANGO_DEBUG=1
export DJANGO_DATABASE=$cache/django/shelf.sqlite3
export DJANGO_MEDIA_ROOT=$cache/django/media

"$python" examples/django/manage.py migrate --verbosity 0
# Fails where there is one already, which is as good.
DJANGO_SUPERUSER_PASSWORD=admin "$python" examples/django/manage.py createsuperuser --noinput \
    --username admin --email admin@example.com >/dev/null 2>&1 || true

echo
echo "    http://127.0.0.1:$port/         the site"
echo "    http://127.0.0.1:$port/admin/   its admin: name admin, password admin"
echo
echo "Edit a file in examples/django and reload the page. Ctrl-C ends it."
echo
exec "$program" dev mysite.wsgi:application --chdir examples/django --python "$cache/run-venv" --bind "127.0.0.1:$port"
