"""Android's debug bridge beside SSH: the link through the cable, conditions that only its shell is told, and fixed clocks."""
