"""What BIRD prints, logs and is configured with."""
