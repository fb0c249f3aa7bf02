"""What a player is judged by."""
