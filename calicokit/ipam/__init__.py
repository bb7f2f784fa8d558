"""IP address management: pools, blocks, allocations, and what is wrong with them."""
