"""What strategies are put together from; none of these is a strategy by itself."""
