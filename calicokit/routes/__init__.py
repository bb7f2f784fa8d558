"""Routes: what each node should have, what its kernel and BIRD have, and what gets in the way."""
