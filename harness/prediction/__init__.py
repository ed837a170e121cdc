"""Latencies of a whole space, from those of the networks that were measured."""
