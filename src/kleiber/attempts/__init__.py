"""Laws of repeated attempts fitted to counts of successes, many groups of problems at once."""
