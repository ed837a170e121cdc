"""Models to measure: names of networks become architectures, architectures become models for a runtime."""
