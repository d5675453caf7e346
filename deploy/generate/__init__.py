"""Files for clusters, written from the settings of the service: `python -m deploy.generate`, `... --check`.

sizes       how many GPUs, in which parts, and the service's settings that follow
kuberay     RayService (the service) and RayJob (a cohort) of one size
dashboard   Grafana's dashboard
files       which file holds what
"""
