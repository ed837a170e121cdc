"""Default sizes of a blockwise search; the command line shows them before it loads anything else."""

FINALISTS = 20  # networks judged with their library's weights
POOL = 100  # networks that an integer program hands to a predictor that is no sum; LANA's finalists, as published
DISTANCE = 2  # stages in which finalists differ: in a space of three, at most one block is shared
FIT_NETWORKS = 10  # networks fine-tuned to fit a predictor to
FINE_TUNE = 3  # finalists fine-tuned
FINE_TUNE_EPOCHS = 10
