# `make run` shows a Django site, `make test` installs what the tests need and runs them. `make help` lists the rest.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PORT ?= 8000
DESTDIR ?=
PREFIX ?= /usr/local
CARGO_TARGET_DIR ?= target
export CARGO_TARGET_DIR
# Where Debian has nginx, and where only root looks.
export PATH := $(PATH):/usr/sbin:/sbin

# Paths reach the commands as variables of the shell, in quotes: make's own would be taken apart at spaces, and run where
# there is a quote or a dollar sign in them.
cache := "$$PWD/.cache"
built := "$$CARGO_TARGET_DIR/release"
bin := "$$DESTDIR$$PREFIX/bin"
library := "$$DESTDIR$$PREFIX/lib/wsgi-fpm"
share := "$$DESTDIR$$PREFIX/share/wsgi-fpm"

.PHONY: help run build install deb install-share dist docs test test-compat test-dist test-systems test-containers mutants lint bench clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):[^#]*## /\1\t/p' Makefile | expand -t 17

run: build ## serve the Django example on http://127.0.0.1:8000/ (PORT=8000)
	@scripts/venv.sh $(cache)/run-venv examples/django/requirements.txt
	@scripts/run-django.sh $(cache) "$(PORT)"

build: ## build the program and its engine, release profile
	@scripts/tools.sh
	cargo build --release --workspace --locked

install: export DESTDIR := $(DESTDIR)
install: export PREFIX := $(PREFIX)
install: ## install what `make build` made, with manual pages and completions (PREFIX=/usr/local, DESTDIR=)
	@test -x $(built)/wsgi-fpm || { echo 'nothing to install: run `make build` first' >&2; exit 1; }
	install -d $(library) $(bin)
	install -m 755 $(built)/wsgi-fpm $(library)/
	install -m 644 $(built)/libwsgi_fpm_engine.so $(library)/
	ln -sf ../lib/wsgi-fpm/wsgi-fpm $(bin)/wsgi-fpm
	scripts/pages.sh "$$DESTDIR$$PREFIX/share" $(built)/wsgi-fpm
	@$(MAKE) --no-print-directory install-share
# Only where systemd looks for it.
	@case "$$PREFIX" in /usr | /usr/local) packaging/files.sh "$$DESTDIR" "$$PREFIX" ;; esac

# What is the same on every machine.
install-share: export DESTDIR := $(DESTDIR)
install-share: export PREFIX := $(PREFIX)
install-share:
	install -d $(share)
	install -m 644 nginx/wsgi_fpm_params nginx/site.conf nginx/status.conf nginx/fcgiwrap.conf deploy/lighttpd.conf \
		deploy/lighttpd-bin-path.conf deploy/lighttpd-cgi.conf deploy/Caddyfile deploy/haproxy.cfg \
		deploy/wsgi-fpm.toml deploy/grafana.json $(share)/
	install -d $(share)/systemd
	install -m 644 deploy/systemd/*.service deploy/systemd/*.socket $(share)/systemd/
	install -d $(share)/apache
	install -m 644 apache/*.conf apache/*.htaccess $(share)/apache/
	install -d $(share)/container $(share)/kubernetes
	install -m 644 deploy/container/* $(share)/container/
	install -d $(share)/prometheus
	install -m 644 deploy/prometheus/* $(share)/prometheus/
	install -m 644 deploy/kubernetes/* $(share)/kubernetes/

# The linker comes from PyPI, so that the program runs with an older C library than this machine's.
dist: ## make what a release consists of: one file that runs everywhere, in dist/
	@scripts/tools.sh
	@scripts/venv.sh $(cache)/dist-venv scripts/dist-requirements.txt packaging/requirements.txt
	@scripts/dist.sh $(cache)/dist-venv

# Of the program that `make build` made, for this machine's C library and newer ones; `make dist` makes those for all.
deb: build ## make packages for Debian and Fedora of what `make build` made, in target/packages/
	@scripts/venv.sh $(cache)/package-venv packaging/requirements.txt
	@rm -rf "$$CARGO_TARGET_DIR/packages" && mkdir -p "$$CARGO_TARGET_DIR/packages"
	@strip --strip-all -o "$$CARGO_TARGET_DIR/packages/wsgi-fpm" $(built)/wsgi-fpm
	@strip --strip-all -o "$$CARGO_TARGET_DIR/packages/libwsgi_fpm_engine.so" $(built)/libwsgi_fpm_engine.so
	@scripts/package.sh $(cache)/package-venv "$$CARGO_TARGET_DIR/packages/wsgi-fpm" "$$CARGO_TARGET_DIR/packages" \
		"$$CARGO_TARGET_DIR/packages/libwsgi_fpm_engine.so"
	@rm "$$CARGO_TARGET_DIR/packages/wsgi-fpm" "$$CARGO_TARGET_DIR/packages/libwsgi_fpm_engine.so"

# Always all of it: a page that has not changed may link to one that has.
docs: ## make a site of the documentation; a link that leads nowhere is an error
	@PYTHON_AT_LEAST=3.11 scripts/venv.sh $(cache)/docs-venv docs/site/requirements.txt
	@$(cache)/docs-venv/bin/python -m sphinx -q -E -a -W --keep-going -c docs/site -d "$$CARGO_TARGET_DIR/docs/doctrees" \
		. "$$CARGO_TARGET_DIR/docs/html"
	@echo "the documentation: file://$$(realpath "$$CARGO_TARGET_DIR/docs/html")/index.html"

# One build with the features that tests need, engine included; then the tests find everything built.
test: ## install what the tests need and run all of them
	@scripts/tools.sh
	@scripts/test-packages.sh
	@scripts/venv.sh $(cache)/test-venv examples/django/requirements.txt examples/flask/requirements.txt
	cargo build --workspace --all-targets --locked
	WSGI_FPM_TEST_VENV=$(cache)/test-venv scripts/count-tests.sh cargo test --workspace --locked --no-fail-fast

# Apart from the others, since it needs a hundred packages from PyPI; without one of them it fails.
test-compat: ## run frameworks and applications of others behind nginx and Apache
	@scripts/tools.sh
	@scripts/test-packages.sh compat
	@PYTHON_AT_LEAST=3.11 scripts/venv.sh $(cache)/compat-venv tests/compat/requirements/*.txt
	cargo build --workspace --all-targets --locked
	WSGI_FPM_COMPAT_VENV=$(cache)/compat-venv scripts/count-tests.sh cargo test --test compat --locked

test-dist: dist ## check what `make dist` has made, and that another folder makes the same
	cargo build --workspace --all-targets --locked
	scripts/count-tests.sh cargo test --test dist --locked

# Apart from the others, since it needs root and a Debian mirror. 35 minutes beside other work, the first time seven more.
test-systems: dist ## install what `make dist` has made in Debian 12, 13 and sid, and test it there with their Pythons
	@scripts/test-packages.sh systems
	@PATH=$(cache)/dist-venv/bin:$$PATH scripts/count-tests.sh scripts/systems.sh $(cache)/systems $(SUITES)

# Apart from the others, since it needs root, podman and a Debian mirror. Two minutes, the first time five.
test-containers: build ## build the Containerfile and run it; check the manifests for Kubernetes
	@scripts/test-packages.sh containers
	@scripts/venv.sh $(cache)/containers-venv tests/containers/requirements.txt
	$(cache)/containers-venv/bin/python tests/containers/manifests.py
	$$([ "$$(id -u)" -eq 0 ] || echo sudo) $(cache)/containers-venv/bin/python tests/containers/trial.py --cache $(cache)/containers --built $(built)

# An hour: the tests of a crate run once for each place in it that can be changed. CRATE=fastcgi for one of them.
mutants: ## change the leaf crates place by place, and see that their tests notice
	@scripts/tools.sh
	@scripts/mutants.sh $(CRATE)

lint: ## check formatting, clippy and the examples' syntax
	@scripts/tools.sh
	cargo fmt --all --check
	cargo fmt --manifest-path fuzz/Cargo.toml --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	cargo clippy --test compat --test dist --locked -- -D warnings
	python3 scripts/check_syntax.py benches examples python scripts tests/compat tests/containers
	for script in scripts/*.sh scripts/systems/*.sh packaging/*.sh packaging/tests/*.sh packaging/deb/* packaging/rpm/* .ci/run; do bash -n "$$script"; done

# Ten minutes on a quiet machine; numbers of a busy one mean nothing.
bench: build ## measure against other servers, in the cases of docs/comparison.md
	@scripts/test-packages.sh bench
	@scripts/venv.sh $(cache)/bench-venv benches/requirements.txt
	@scripts/bench.sh $(built)/wsgi-fpm $(cache)/bench-venv

clean: ## remove everything that was built or downloaded
	cargo clean
	rm -rf $(cache) dist
