"""What a CSV file needs so that a spreadsheet reads it as it is meant."""

BYTE_ORDER_MARK = "\ufeff"  # without it Excel reads umlauts as two letters
# What a spreadsheet takes for the beginning of a formula, in full width too.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def safe(value: object) -> object:
    """Return a text that a spreadsheet does not run as a formula; other values as they are."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
