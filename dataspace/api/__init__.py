"""HTTP: parse, authenticate, read the time once, call one flow, answer."""
