"""A campaign on a device: from the wait for a free core to sessions in the store."""
