"""The engine: a law on a table as a problem, its search, and its descents."""
