"""From measured networks to answers about the whole space; never a device, never SSH."""
