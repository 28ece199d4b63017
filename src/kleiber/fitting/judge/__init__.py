"""The judge: what a fit says about itself, its status, its misfit and what would mend it."""
