"""The dataplane: what Felix programmed on each node, what packets meet there, and what drops them."""
