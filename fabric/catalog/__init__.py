"""Cards and replicas under leases, by revision."""
