"""What one rank does, as frozen values: the recorder and the vocabulary of op kinds."""
