"""An import failure with a traceback worth reading."""


def configure():
    raise RuntimeError("the configuration is broken")


configure()
