"""Background work. All of it is derived from stored state, so that stopping at any line loses nothing."""
