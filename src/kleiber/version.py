"""The version of the package, spelt once: the build, the façade and saved fits read it here."""

__version__ = "0.1.0"
