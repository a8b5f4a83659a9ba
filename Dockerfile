# Three images: `docker build --target learner .`, `--target replica .` and `--target edge .`, which
# is a learner without torch: it goes on from a snapshot and is never at a birth.
# None of them starts without API keys (`--keys FILE`, docs/access.md), or `--insecure`.
# TORCH_INDEX: an index of CPU wheels for torch, where PyPI's (with CUDA, gigabytes) is not wanted.
ARG PYTHON=3.11

FROM python:${PYTHON}-slim-bookworm AS sources
WORKDIR /src
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONDONTWRITEBYTECODE=1
COPY pyproject.toml constraints.txt README.md LICENSE ./

# Each role's packages first and by themselves: they change seldom, the sources often.
FROM sources AS build-replica
RUN python -m venv /opt/apical \
    && /opt/apical/bin/pip install --constraint constraints.txt '.[replica,s3]'
COPY model_store model_store
COPY clients clients
COPY service service
RUN /opt/apical/bin/pip install --no-deps --force-reinstall .

FROM sources AS build-learner
ARG TORCH_INDEX=
RUN python -m venv /opt/apical \
    && /opt/apical/bin/pip install --constraint constraints.txt \
       ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} '.[learner,s3,parquet]'
COPY model_store model_store
COPY clients clients
COPY service service
RUN /opt/apical/bin/pip install --no-deps --force-reinstall .

FROM sources AS build-edge
RUN python -m venv /opt/apical \
    && /opt/apical/bin/pip install --constraint constraints.txt '.[edge,s3]'
COPY model_store model_store
COPY clients clients
COPY service service
RUN /opt/apical/bin/pip install --no-deps --force-reinstall .

FROM python:${PYTHON}-slim-bookworm AS runtime
RUN groupadd --gid 10001 apical \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /var/lib/apical apical \
    && install -d -o 10001 -g 10001 /var/lib/apical /var/lib/apical/store /var/lib/apical/log
ENV PATH=/opt/apical/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /var/lib/apical
USER 10001:10001

FROM runtime AS replica
COPY --from=build-replica /opt/apical /opt/apical
EXPOSE 8081
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=3 \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8081/v2/health/live', timeout=2)"]
ENTRYPOINT ["apical", "replica"]
CMD ["--store", "/var/lib/apical/store", "--host", "0.0.0.0", "--log-json"]

# What a learner is run as, with torch or without.
FROM runtime AS serving
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --retries=3 \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8080/v2/health/live', timeout=2)"]
ENTRYPOINT ["apical", "serve"]
CMD ["--config", "/etc/apical/apical.toml", "--host", "0.0.0.0", "--log-json"]

FROM serving AS edge
COPY --from=build-edge /opt/apical /opt/apical

FROM serving AS learner
COPY --from=build-learner /opt/apical /opt/apical
