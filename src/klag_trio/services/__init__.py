"""What runs for as long as the process does, and says when it is ready."""
