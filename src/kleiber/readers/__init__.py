"""Readers of people's logs: what trackers, trainers and evaluation programs write, as tables.

Every module of this package that has a ``READER`` is a format; it is found, not listed.
"""
