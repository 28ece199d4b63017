"""Data sets: where their public originals are, and how each is read."""
