#!/usr/bin/env bash
# bench.sh PROGRAM VENV: the cases of the figures in docs/comparison.md, each in one run, and how long requests wait for others.
set -euo pipefail

kept=wsgi-fpm=$1
new=wsgi-fpm-new=$1,new
compare=("$(dirname "$0")/../benches/compare.py" --venv "$2")

"${compare[@]}" "$kept" granian uwsgi uwsgi-fastcgi gunicorn
"${compare[@]}" "$new" uwsgi-fastcgi
"${compare[@]}" --workers 2 --threads 4 "$kept" granian uwsgi-fastcgi
"${compare[@]}" --workers 2 --threads 4 "$new" uwsgi-fastcgi
"${compare[@]}" --threads 8 "$kept" granian
"${compare[@]}" --case flask "$kept" granian uwsgi
"${compare[@]}" --case flask --threads 8 "$kept" granian uwsgi
"${compare[@]}" --case django "$kept" granian uwsgi
"${compare[@]}" --case big "$kept" granian uwsgi uwsgi-fastcgi
"${compare[@]}" --case echo "$kept" granian uwsgi uwsgi-fastcgi
"${compare[@]}" --case stream "$kept" granian uwsgi uwsgi-fastcgi
"$(dirname "$0")/../benches/mix.py" --venv "$2" "$kept" "$new" uwsgi-fastcgi
