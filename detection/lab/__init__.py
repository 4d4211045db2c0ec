"""The bench of a laboratory's detector: data sets, training and measuring; the web product never imports it."""
