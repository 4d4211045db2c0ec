"""The append-only record of who did what; imports none of the other rooms."""
