"""Model versions of the registry, read back."""

from typing import Any

from llarp.errors import UserError


def load(uri: str) -> Any:
    """The `components.pyfunc_model.LLaRPModel` of a version, with `policy`, `encoder` and `params`.

    Args:
        uri: as `models:/llarp@candidate`.

    Raises:
        UserError: there is no such version, its files are not those that were registered, or its backbone is missing
            here.

    """
    import mlflow
    from mlflow.exceptions import MlflowException

    from components.model_files import fetch

    try:
        return mlflow.pyfunc.load_model(str(fetch(uri))).unwrap_python_model()
    except MlflowException as error:
        raise UserError(f"cannot be loaded: {error.message}", uri, "register one with `llarp run`") from error
