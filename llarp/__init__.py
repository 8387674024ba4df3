"""Language-conditioned robot policies on frozen language models (LLaRP, arXiv 2310.17722).

The method, usable without any pipeline: this package imports neither prefect, dvc nor mlflow.
"""

__version__ = "0.1.0"
