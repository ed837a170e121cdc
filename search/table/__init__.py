"""The joined table of a space, accuracies and costs of every network, and the answers within constraints on it."""

from search.table.table import Cost, CostEstimate, NetworkTable

__all__ = ["Cost", "CostEstimate", "NetworkTable"]
