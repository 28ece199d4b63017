"""pass@k from counts of attempts, as a reduction."""

from kleiber.attempts.counts import pass_at_k as pass_at_k
