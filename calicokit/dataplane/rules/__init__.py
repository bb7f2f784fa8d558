"""What the rules of every node are, whatever printed them, and what their names say."""
