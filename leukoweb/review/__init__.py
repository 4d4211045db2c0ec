"""What people decided and signed."""
