"""Many Experiments, one store: specs become a long table, and what has finished is never lost."""
