# The environment of the project, for a clone mounted at /project:
#
#     docker build -t llarp .
#     docker run --rm -v "$PWD":/project --user "$(id -u):$(id -g)" llarp run
#
# The code comes with the clone, because DVC and the lineage of results need its git repository. Not yet built by any
# test: where the project was written no container engine runs.

FROM python:3.11.11-slim-bookworm AS build
# Empty takes the GPU build of torch; this index the one for the CPU.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN python -m venv /venv
COPY constraints.txt /tmp/constraints.txt
RUN /venv/bin/pip install --no-cache-dir ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} -r /tmp/constraints.txt \
    && /venv/bin/pip uninstall --yes pip

FROM python:3.11.11-slim-bookworm
# git: DVC and the lineage read the repository, which belongs to whoever mounted it.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends git \
    && rm -rf /var/lib/apt/lists/* \
    && git config --system --add safe.directory /project \
    && useradd --uid 1000 --create-home llarp
COPY --from=build /venv /venv
ENV PATH=/venv/bin:$PATH \
    HOME=/tmp \
    PYTHONPATH=/project \
    PYTHONUNBUFFERED=1 \
    OMP_NUM_THREADS=1 \
    OMP_WAIT_POLICY=PASSIVE \
    TOKENIZERS_PARALLELISM=false \
    DO_NOT_TRACK=true \
    DVC_NO_ANALYTICS=true \
    HF_HUB_DISABLE_TELEMETRY=1 \
    MLFLOW_DISABLE_TELEMETRY=true \
    PREFECT_SERVER_ANALYTICS_ENABLED=false
USER llarp
WORKDIR /project
ENTRYPOINT ["python", "-m", "pipelines.cli"]
CMD ["--help"]
