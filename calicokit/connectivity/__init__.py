"""Two ends that cannot connect: the guide's steps from their names to a cause."""
