"""The registered model, as code that MLflow runs when it loads a version; no pickle.

    model = mlflow.pyfunc.load_model("models:/llarp@candidate")
    model.predict({"instruction": "Move an apple to the sofa", "images": images})  # -> ["nav(sofa)", ...]

`images` is uint8[T, H, W, 3] (or nested lists): all that the head camera has seen in the episode so far, oldest first.
The answer names T actions; the last one is what to do now. A list of such requests gets a list of answers.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel, PythonModelContext

# MLflow wants a type hint on `predict` from which it would make a schema of tables; images are none.
warnings.filterwarnings("ignore", ".*Add type hints to the `predict`", UserWarning)


@dataclass(frozen=True)
class _Task:
    instruction: str


class LLaRPModel(PythonModel):
    """A trained policy with its encoder."""

    def load_context(self, context: PythonModelContext) -> None:
        """Reads the version's files; the backbone's weights come from where policy.json says, and are checked."""
        from llarp.config import load_params
        from llarp.policy.llarp import LLaRPPolicy
        from llarp.vision.encoder import load_encoder

        files = {name: Path(path) for name, path in context.artifacts.items()}
        self.policy = LLaRPPolicy.load(files["policy"])
        self.encoder = load_encoder(files["encoder"])
        self.params = load_params(files["params"])

    def predict(self, context, model_input, params=None):
        """Names of actions for one request, or a list of them for each of several."""
        if isinstance(model_input, Mapping):
            return self.act(model_input["instruction"], np.asarray(model_input["images"], np.uint8))
        return [self.predict(context, request) for request in model_input]

    def act(self, instruction: str, images: np.ndarray) -> Sequence[str]:
        """The action chosen at each of T images, knowing those before it."""
        camera = self.params.camera
        if images.ndim != 4 or images.shape[1:] != (camera.height, camera.width, 3):
            raise ValueError(f"images are {list(images.shape)}, not [T, {camera.height}, {camera.width}, 3]")
        running, chosen = np.ones(1, bool), []
        state = self.policy.start([_Task(instruction)])
        # As in training, features pass through float16.
        for features in self.encoder.encode(images).astype(np.float16):
            actions, state = self.policy.act(features[None], state, running)
            chosen.append(self.policy.actions[actions[0]])
        return chosen


set_model(LLaRPModel())
