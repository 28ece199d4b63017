"""The version of the package, which the build, the package itself and saved fits read here."""

__version__ = "0.1.0"
