"""A packet's way through the rules: what they ask, what they do, where it ends."""
