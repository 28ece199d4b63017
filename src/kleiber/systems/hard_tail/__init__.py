"""Hard tail (Levi, arXiv:2601.03764): latent difficulty, pass@k, training against attempts."""

THEORIES = {"hard_tail": ("theory", "HardTail")}
REDUCTIONS = {"heads": ("heads_table", "heads")}
