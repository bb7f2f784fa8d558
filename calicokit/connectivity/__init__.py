"""Two ends that cannot talk: the guide's path from their names to a cause."""
