"""What runs the product somewhere: the demo, checks, container files, guides."""
