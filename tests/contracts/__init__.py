"""What every implementation of a kind promises, as test classes for a subclass with one fixture."""
