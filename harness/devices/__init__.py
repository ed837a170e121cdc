"""A device: how devices.toml describes it, how it is reached, and what its agent answers."""
