"""What a resident holds: keys, key statements, sealed records; and the resident's side of it (``vault.client``)."""
