"""What people decided and signed; knows nothing of networks."""
