"""The engine: a law on a table as a minimisation problem, the search for its optimum, and its
solver."""
