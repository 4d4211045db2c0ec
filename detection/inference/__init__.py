"""Read an image: networks, tiles, scale, nuclei and stain transfer; training and measuring live in `detection.lab`."""
