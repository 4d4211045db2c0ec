"""Training canvases and the training loop; how good a network is, is measured in `detection.lab.measuring`."""
