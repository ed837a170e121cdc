"""The joined table of a space, accuracies and costs of every network, and the answers within constraints on it."""

from search.table.table import Cost, NetworkTable

__all__ = ["Cost", "NetworkTable"]
