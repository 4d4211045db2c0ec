"""English dates are of ISO 8601: day and month cannot be mistaken for each other on either side of the Atlantic."""

SHORT_DATE_FORMAT = "Y-m-d"
SHORT_DATETIME_FORMAT = "Y-m-d H:i"
