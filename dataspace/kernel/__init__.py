"""Clock, ids, encodings, errors, database: small, and imports nothing of ours."""
