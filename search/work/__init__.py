"""Units of work: pure functions of a config and of inputs named by content, kept once and run here or on a cluster."""
