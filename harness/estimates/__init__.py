"""From raw samples to a latency with its interval and grade: pure functions of session records."""
