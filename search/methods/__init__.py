"""Search methods behind one ask-and-tell contract, within a budget of evaluations.

    from search.methods import run
    trace = run("evolution", problem, evaluate)

To add a method, add a file with a class of `search.methods.method.Method` and its line in `search.methods.registry`.
"""

from search.methods.method import Problem, Trace
from search.methods.registry import METHODS, parse_method, run

__all__ = ["METHODS", "Problem", "Trace", "parse_method", "run"]
