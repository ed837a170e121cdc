"""Prediction and search of a whole space from measured and trained networks; no devices, no SSH."""
