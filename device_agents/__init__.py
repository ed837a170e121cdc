"""What runs on a device: a stdlib-only agent that caches parts, assembles models and times them."""

PROTOCOL = 2
"""Version of the frames and verbs."""

OLDEST_PROTOCOL = 1
"""The oldest version that a harness may speak: since then only events, fields and verbs were added."""
