"""Blockwise search on a store and its devices: costs and settings, measured finalists, the answer and its output folder."""
