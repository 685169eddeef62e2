"""What runs: one endless coroutine per duty."""
