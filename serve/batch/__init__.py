"""`python -m serve batch`: a cohort of studies analysed on a cluster with Ray Data, one table at the end.

settings   what a cohort is analysed with; a folder of results belongs to one
cohort     which studies a folder holds, under pseudonyms
neutral    a study's files under names that say nothing of the patient
rows       a study's result as rows of the table
ledger     what has ended so far, on disk: the reason why a killed run continues
worker     one study after the other, in one process          (plain)
table      the rows of all studies as CSV and Parquet
run        the seam to Ray Data
command    the command line
"""
