"""The dataplane: rules, sets and programs on each node, how packets pass them, and what drops them."""
