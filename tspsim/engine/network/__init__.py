"""How collectives are played on the links: as coflows or as single sends."""
