"""The agent that runs on a device: it caches parts, assembles models and times them, with the standard library alone."""

PROTOCOL = 3
"""Version of the frames and verbs; the other side must speak the same."""
