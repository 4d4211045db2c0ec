"""Running an installation: demo case, health, figures, backup, restore and the check of the store."""
