# The pipeline and what it needs, for flows, servers and workers; compose.yaml starts all of them.
#
#     docker build -t llarp .                            torch for the CPU
#     docker build -t llarp:cuda --build-arg TORCH_INDEX= .    torch for NVIDIA's GPUs, as PyPI has it
#     docker run --rm -v "$PWD":/project --user "$(id -u):$(id -g)" llarp run
#
# A run needs the clone, mounted at /project, because DVC and the lineage of results read its git repository; its code
# then goes before the image's. docs/services.md says how this file was tested.

# Any Debian-like base with Python 3.11 and its venv module.
ARG BASE=python:3.11.11-slim-bookworm

FROM ${BASE} AS build
# Where pip finds torch beside PyPI; empty: nowhere.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
WORKDIR /build
RUN python3 -m venv /venv
# The packages alone first: a change of the code leaves this layer as it is.
COPY pyproject.toml constraints.txt README.md ./
RUN /venv/bin/pip install --no-cache-dir ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} \
        --constraint constraints.txt '.[lora,services]' \
    && find /venv -type d \( -name tests -o -path '*/torch/test' -o -path '*/torch/include' \) -prune -exec rm -r {} +
COPY llarp llarp
COPY components components
COPY pipelines pipelines
RUN /venv/bin/pip install --no-cache-dir --no-deps --force-reinstall . \
    && /venv/bin/pip uninstall --yes pip

FROM ${BASE}
# git: DVC and the lineage read the repository, which belongs to whoever mounted it.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends git \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt /var/log/apt /var/log/dpkg.log \
    && git config --system --add safe.directory /project \
    && useradd --uid 1000 --create-home llarp \
    && mkdir /project /var/lib/prefect && chown llarp:llarp /project /var/lib/prefect
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
# Asks the address in LLARP_HEALTH_URL, which whoever starts a server in it sets; else only whether Python starts.
HEALTHCHECK --interval=15s --timeout=10s --start-period=90s --retries=4 \
    CMD ["python", "-m", "pipelines.services.health"]
ENTRYPOINT ["python", "-m", "pipelines.cli"]
CMD ["--help"]
