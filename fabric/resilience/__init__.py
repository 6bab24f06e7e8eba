"""What is tried next, and for how long."""
