"""What can be said of programs without playing them in time."""
