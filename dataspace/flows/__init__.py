"""What happens when somebody acts: the only code that commits, at the points ARCHITECTURE.md names."""
