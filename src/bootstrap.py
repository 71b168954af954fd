# What the Python of a leader or of a script runs: loads the engine, which is the file sys.argv[1] or, if that is a number, the
# open file of this number, and hands over to it. A script's settings are in the open file sys.argv[2]. `python -c` puts the
# working directory first on sys.path; nothing may be imported from there before the engine says so, or a file of the application
# could stand in for a module of the standard library. Every import here would count for each CGI request, so there are only
# built-in ones.
import sys
if sys.path and sys.path[0] == "":
    del sys.path[0]

NAME = "wsgi_fpm_engine"


def idle(number, frame):
    pass


def load(path):
    import _frozen_importlib
    import _frozen_importlib_external

    loader = _frozen_importlib_external.ExtensionFileLoader(NAME, path)
    spec = _frozen_importlib.ModuleSpec(NAME, loader, origin=path)
    engine = _frozen_importlib.module_from_spec(spec)
    loader.exec_module(engine)
    return engine


# The engine from the open file `image`, which stays open: its path goes on to mean this file, for debuggers and for libraries
# that are loaded in the same way. Not by /proc/self, which a debugger would take for its own.
def load_image(image):
    import posix

    posix.set_inheritable(image, False)
    try:
        return load("/proc/%s/fd/%d" % (posix.readlink("/proc/self"), image))
    except (OSError, ImportError) as error:
        return load_copy(image, posix, str(error))


# There is no /proc, or the system lets nothing be executed that lies in memory: from a file that only this process sees, and
# nobody any more once it is loaded.
def load_copy(image, posix, why):
    variables = [posix.environ.get(name, b"") for name in (b"RUNTIME_DIRECTORY", b"XDG_RUNTIME_DIR", b"TMPDIR")]
    places = [variables[0].split(b":")[0]] + variables[1:] + [b"/dev/shm", b"/var/tmp", b"/tmp"]
    for place in places:
        if not place.startswith(b"/"):
            continue
        directory = place + b"/wsgi-fpm-" + posix.urandom(8).hex().encode()
        path = directory + b"/engine.so"
        try:
            posix.mkdir(directory, 0o700)
        except OSError:
            continue
        try:
            copy = posix.open(path, posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL | posix.O_CLOEXEC, 0o600)
            try:
                sent = 0
                length = posix.fstat(image).st_size
                while sent < length:
                    sent += posix.sendfile(copy, image, sent, length - sent)
            finally:
                posix.close(copy)
            return load(path.decode(errors="surrogateescape"))
        except (OSError, ImportError) as error:
            why += "; " + str(error)
        finally:
            for remove, what in ((posix.unlink, path), (posix.rmdir, directory)):
                try:
                    remove(what)
                except OSError:
                    pass
    raise ImportError(why + "; name a directory in TMPDIR that lets files be executed")


def main():
    if sys.version_info < (3, 9) or sys.implementation.name != "cpython":
        sys.stderr.write("wsgi-fpm: error: %s is %s %s: CPython 3.9 or newer is needed\n" % (
            sys.executable, sys.implementation.name, sys.version.split()[0]))
        return 2
    # "t" for threading: such a build loads the engine, which is made for the stable ABI, and crashes.
    if "t" in sys.abiflags:
        sys.stderr.write("wsgi-fpm: error: %s is a free-threaded build of Python: an ordinary one is needed\n" % (
            sys.executable,))
        return 2
    import _signal as signal

    where = sys.argv[1]
    settings = None
    if len(sys.argv) > 2:
        with open(int(sys.argv[2]), encoding="utf-8") as file:
            settings = file.read()
        # A script ends by these signals, even if whoever has started it ignores them, as a shell in the background does.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT):
            signal.signal(number, signal.SIG_DFL)
    else:
        # A terminal and a service manager signal every process, but when to stop, and how, the supervisor says. Handlers
        # that do nothing rather than SIG_IGN: programs that the application starts must not inherit them. The engine takes
        # them out of children that the application forks.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP, signal.SIGUSR2):
            signal.signal(number, idle)
    sys.argv[:] = ["wsgi-fpm"]
    image = int(where) if where.isdigit() else None
    try:
        engine = load(where) if image is None else load_image(image)
    except ImportError as error:
        sys.stderr.write("wsgi-fpm: error: the engine can't be loaded: %s\n" % error)
        return 1
    sys.modules[NAME] = engine
    return engine.main(idle, image) if settings is None else engine.serve(settings, image)


# Since 3.11 CPython keeps frames in chunks of 16 KiB, and maps and unmaps memory each time that a call crosses the end of
# one, perhaps in every turn of a loop. A frame that needs more than that gets a chunk of 256 KiB, half of it for whom it calls.
if sys.version_info >= (3, 11):
    main.__code__ = main.__code__.replace(co_stacksize=16384)
sys.exit(main())
