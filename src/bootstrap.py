# What a leader's Python runs: loads the engine by its path, which is sys.argv[1], and hands over to it.
# `python -c` puts the working directory first on sys.path; nothing may be imported from there before the engine says
# so, or a file of the application could stand in for a module of the standard library.
import sys
if sys.path and sys.path[0] == "":
    del sys.path[0]


def main():
    import signal
    from importlib.machinery import ExtensionFileLoader
    from importlib.util import module_from_spec, spec_from_file_location

    # A terminal and a service manager signal every process, but when to stop, and how, the supervisor says. Handlers
    # that do nothing rather than SIG_IGN: programs that the application starts must not inherit them.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP, signal.SIGUSR2):
        signal.signal(number, lambda number, frame: None)
    name, path = "wsgi_fpm_engine", sys.argv[1]
    sys.argv[:] = ["wsgi-fpm"]
    try:
        spec = spec_from_file_location(name, path, loader=ExtensionFileLoader(name, path))
        engine = module_from_spec(spec)
        spec.loader.exec_module(engine)
    except ImportError as error:
        print("wsgi-fpm: the engine can't be loaded: %s" % error, file=sys.stderr)
        return 1
    sys.modules[name] = engine
    return engine.main()


sys.exit(main())
