"""Orders, whoever made them: what they consist of, reading, checking and playing one."""
