"""What the service says of itself to Prometheus: numbers about work, never about a patient.

work      what the selector measures: stages, U_pp, chosen members, failures
requests  what the front measures, and both together as one text
"""
