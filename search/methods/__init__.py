"""Search methods behind one contract: they ask for networks, are told accuracies, and keep to a budget.

    from search.methods import run
    trace = run("evolution", problem, look_up)

Adding a method is adding a file with a class of `search.methods.contract.Method` and its line in `search.methods.table`.
"""

from search.methods.contract import Problem, Trace
from search.methods.table import METHODS, parse_method, run

__all__ = ["METHODS", "Problem", "Trace", "parse_method", "run"]
