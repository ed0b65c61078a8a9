"""What the schedules share: their base, and how the rows of similar ones are made."""
