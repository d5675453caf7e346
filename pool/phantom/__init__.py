"""Multi-centre perfusion studies with known truth: hearts, contrast agent, scanner, motion and readers, simulated."""
