"""Accuracies of the networks of a space: from published trainings or a user's own table, as means over seeds."""

from space.accuracies.accuracies import Accuracies
from space.accuracies.load import load_accuracies, read_trainings

__all__ = ["Accuracies", "load_accuracies", "read_trainings"]
