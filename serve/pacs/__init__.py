"""Between a PACS and the service: fetches or receives studies, has them analysed, stores the results back.

settings        what can be chosen
inbox           instances that came, on disk, by study
dimse           C-STORE: receiver and sender
dicomweb        QIDO-RS, WADO-RS and STOW-RS as a client
stow_endpoint   STOW-RS as a server
multipart       the bodies of both
poller          asks the PACS for new studies
deidentify      the basic profile, and the way back
runs            what is known of every run, on disk
gateway         takes studies from arrival to stored results
command         python -m serve pacs
"""
