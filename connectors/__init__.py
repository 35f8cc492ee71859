"""The borders where data is sealed, opened and used: sources, broker, compute nodes."""
