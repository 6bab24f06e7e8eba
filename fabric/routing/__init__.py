"""From a request to a plan, by pure functions."""
