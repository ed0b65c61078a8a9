"""What the schedules share: actions, orders, their shape, and how one is written down."""
