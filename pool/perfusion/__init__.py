"""Blood flow from a perfusion series and an outline: numbers only, drawings are in `pool.figures`."""
