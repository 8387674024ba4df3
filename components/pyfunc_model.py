"""The registered model, as code that MLflow runs when it loads a version; no pickle.

    model = mlflow.pyfunc.load_model("models:/llarp@candidate")
    model.predict({"instruction": "Move an apple to the sofa", "images": images})  # -> ["nav(sofa)", ...]

`images` is uint8[T, H, W, 3] (or nested lists): all that the head camera has seen in the episode so far, oldest first.
The answer names T actions; the last one is what to do now. A list of such requests gets a list of answers.

This reads the whole episode again at every step; who has a robot to steer takes `components.agent.load_agent`.
"""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel, PythonModelContext

# MLflow wants a type hint on `predict` from which it would make a schema of tables; images are none.
warnings.filterwarnings("ignore", ".*Add type hints to the `predict`", UserWarning)


class LLaRPModel(PythonModel):
    """A trained policy with its encoder."""

    def load_context(self, context: PythonModelContext) -> None:
        """Reads the version's files; the backbone's weights come from where policy.json says, and are checked."""
        from llarp.config import load_params
        from llarp.serving import Agent

        files = {name: Path(path) for name, path in context.artifacts.items()}
        self.agent = Agent.load(files["policy"], files["encoder"], files["params"])
        self.policy, self.encoder = self.agent.policy, self.agent.encoder
        self.params = load_params(files["params"])

    def predict(self, context, model_input, params=None):
        """Names of actions for one request, or a list of them for each of several."""
        if isinstance(model_input, Mapping):
            return self.act(model_input["instruction"], np.asarray(model_input["images"], np.uint8))
        return [self.predict(context, request) for request in model_input]

    def act(self, instruction: str, images: np.ndarray) -> Sequence[str]:
        """The action chosen at each of T images, knowing those before it; ValueError when they are none of T images."""
        height, width, _ = self.agent.image_shape
        if images.ndim != 4 or images.shape[1:] != self.agent.image_shape:
            raise ValueError(f"images are {list(images.shape)}, not [T, {height}, {width}, 3]")
        with self.agent.start(instruction) as session:
            return [session.act(image) for image in images]


set_model(LLaRPModel())
