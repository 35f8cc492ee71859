"""Who is who: residents, sources, operators, their licences, and the tokens they act with."""
