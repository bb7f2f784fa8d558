"""What the logs of Calico's components say: patterns, how often, and what the telling ones mean."""
