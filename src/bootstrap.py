# What the Python of a leader or of a script runs: loads the engine by its path, which is sys.argv[1], and hands over to
# it. A script's settings are in the open file sys.argv[2]. `python -c` puts the working directory first on sys.path; nothing
# may be imported from there before the engine says so, or a file of the application could stand in for a module of the
# standard library. Every import here would count for each CGI request, so there are only built-in ones.
import sys
if sys.path and sys.path[0] == "":
    del sys.path[0]


def idle(number, frame):
    pass


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
    import _frozen_importlib
    import _frozen_importlib_external
    import _signal as signal

    name, path = "wsgi_fpm_engine", sys.argv[1]
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
    try:
        loader = _frozen_importlib_external.ExtensionFileLoader(name, path)
        spec = _frozen_importlib.ModuleSpec(name, loader, origin=path)
        engine = _frozen_importlib.module_from_spec(spec)
        loader.exec_module(engine)
    except ImportError as error:
        sys.stderr.write("wsgi-fpm: error: the engine can't be loaded: %s\n" % error)
        return 1
    sys.modules[name] = engine
    return engine.main(idle) if settings is None else engine.serve(settings)


# Since 3.11 CPython keeps frames in chunks of 16 KiB, and maps and unmaps memory each time that a call crosses the end of
# one, perhaps in every turn of a loop. A frame that needs more than that gets a chunk of 256 KiB, half of it for whom it calls.
if sys.version_info >= (3, 11):
    main.__code__ = main.__code__.replace(co_stacksize=16384)
sys.exit(main())
