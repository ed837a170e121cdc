"""From raw samples to a latency with its interval and its grade; pure functions, but for what `latency` reads of a store."""
