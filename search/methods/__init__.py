"""Search methods behind one contract: they ask for networks, are told accuracies, and keep to a budget.

    from search.methods import run
    trace = run("evolution", problem, look_up)

Adding a method is adding a file with a class of `search.methods.method.Method` and its line in `search.methods.registry`.
"""

from search.methods.method import Problem, Trace
from search.methods.registry import METHODS, parse_method, run

__all__ = ["METHODS", "Problem", "Trace", "parse_method", "run"]
