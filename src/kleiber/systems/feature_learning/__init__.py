"""Feature learning (Bordelon, Atanasov & Pehlevan, arXiv:2409.17858) beyond the kernel limit."""

THEORIES = {"feature_learning": ("theory", "FeatureLearning")}
REDUCTIONS = {
    "envelope": ("envelope", "envelope"),
    "envelope-exponents": ("envelope", "envelope_exponents"),
    "spectrum": ("spectrum_table", "spectrum"),
}
PUBLIC = {"estimate_spectrum": ("spectrum", "estimate_spectrum")}
