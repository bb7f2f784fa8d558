"""What is programmed beside what the resources ask for."""
