"""One process for many applications: the last part of the path names the function."""


def by_path(functions):
    """An application that passes the call on as it came. Nothing stands between gateway and function but one frame."""

    def application(*args, **kwargs):
        environ = args[0]
        name = environ["PATH_INFO"].rsplit("/", 1)[-1]
        return functions[name](*args, **kwargs)

    return application
