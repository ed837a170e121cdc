"""Devices: configuration, transports, the agent's client, conditions and diagnosis."""
