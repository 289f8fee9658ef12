# The service in an image. PyTorch for the CPU, or with an empty TORCH_INDEX its CUDA build from the default index:
#
#   docker build -t atat-broker .
#   docker build -t atat-broker:cuda --build-arg TORCH_INDEX= .
#   docker build -t atat-broker:rubin --build-arg EXTRAS=service,rubin .     # Rubin's alert schemas, GPL-3.0

FROM python:3.11-slim AS build

RUN python -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /build

# PyTorch by itself: it is most of the image, and a change of the code need not fetch it again.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
COPY constraints.txt .
RUN pip install --constraint constraints.txt --no-deps ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} torch

ARG EXTRAS=service
COPY pyproject.toml README.md LICENSE ./
COPY models models
COPY service service
RUN pip install --constraint constraints.txt ".[$EXTRAS]"


FROM python:3.11-slim

RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin atat
COPY --from=build /opt/venv /opt/venv
COPY deploy/healthcheck.py /opt/healthcheck.py

# A bare `docker run -e KAFKA_BOOTSTRAP_SERVERS=...` classifies, and its API answers inside the container alone. To open it:
#
#   docker run -e HTTP_HOST=0.0.0.0 -e HTTP_TOKENS_FILE=/run/secrets/http-tokens ... atat-broker
#
# and without tokens only by -e HTTP_OPEN=true, where the network is closed.
#
# The reader of alerts is compiled for the CPU that it runs on, and kept in NUMBA_CACHE_DIR for the next start: the one
# folder that this user may write to where the root file system is read-only.
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HTTP_HOST=127.0.0.1 NUMBA_CACHE_DIR=/tmp/numba
WORKDIR /srv
USER 10001:10001
EXPOSE 8000

# Until the model is loaded nothing is answered: hence the start period.
HEALTHCHECK --interval=15s --timeout=6s --start-period=120s --retries=3 CMD ["python", "/opt/healthcheck.py"]

ENTRYPOINT ["python", "-m", "service"]
CMD ["serve"]
