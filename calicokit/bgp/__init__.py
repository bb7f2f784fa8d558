"""BGP: who peers with whom."""
