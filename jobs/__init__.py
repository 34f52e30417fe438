"""Jobs over the asset graph, and the sensors that start them."""
