"""What runs on a device: a stdlib-only agent that caches parts, assembles models and times them."""

PROTOCOL = 3
"""Version of the frames and verbs; the other side must speak the same."""
