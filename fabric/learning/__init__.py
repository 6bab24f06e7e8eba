"""Training policies from outcomes and measuring routers; nothing here answers requests."""
