"""The judgement of a fit: its status, its misfit, and what would improve it."""
