"""What changes something on a cluster for a while: opt-in, planned and shown first, undone, expiring by itself."""
