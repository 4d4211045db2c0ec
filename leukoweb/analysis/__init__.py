"""What a detector said about a slide; the only bridge to detection/."""
