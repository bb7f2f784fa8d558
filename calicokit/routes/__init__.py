"""Routes: expected on each node, present in its kernel and BIRD, and conflicts."""
