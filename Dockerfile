# Two stages: `build` makes the wheel, `web` and `worker` are what runs. docker-compose.yml builds both.
#   docker build --target web .       pages, API and migrations: no network library in it
#   docker build --target worker .    reads slides: torch with CUDA as PyPI has it; for processors alone see TORCH_INDEX
FROM python:3.11-slim-bookworm AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY detection detection
COPY leukoweb leukoweb
COPY templates templates
COPY static static
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .


FROM python:3.11-slim-bookworm AS web
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1

# Pango, HarfBuzz and fonts of many scripts: PDF reports draw every name. postgresql-client: backup and restore.
# libgl1, libglib2.0-0: OpenCV, which says what libjpeg found wrong with a picture.
RUN apt-get update \
 && apt-get install --yes --no-install-recommends \
      libpango-1.0-0 libpangoft2-1.0-0 libharfbuzz-subset0 fonts-dejavu-core fonts-noto-core fonts-noto-cjk \
      postgresql-client-15 libgl1 libglib2.0-0 \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --uid 10001 --create-home --shell /usr/sbin/nologin leukoweb \
 && install --directory --owner leukoweb --group leukoweb --mode 0700 /data

WORKDIR /srv/leukoweb
COPY requirements.lock ./
# Every library at the version that was tested.
ENV PIP_CONSTRAINT=/srv/leukoweb/requirements.lock
COPY --from=build /wheels /wheels
RUN pip install "$(ls /wheels/*.whl)[traces,s3]"

ENV LEUKOWEB_STATIC_DIR=/srv/static
RUN LEUKOWEB_DATA_DIR=/tmp/build leukoweb collectstatic --noinput --verbosity 0 && rm -rf /tmp/build

ENV LEUKOWEB_DATA_DIR=/data
USER leukoweb
VOLUME /data
EXPOSE 8000
CMD ["gunicorn", "leukoweb.wsgi", "--worker-class", "leukoweb.serving.Worker", "--workers", "3", "--threads", "8", "--bind", "0.0.0.0:8000", "--no-control-socket", "--keep-alive", "75", "--max-requests", "10000", "--max-requests-jitter", "2000", "--limit-request-line", "0"]


FROM web AS worker
# Where torch comes from. Empty: PyPI, whose wheel brings CUDA (some GB). PyTorch's own index has one for processors
# alone (200 MB): https://download.pytorch.org/whl/cpu
ARG TORCH_INDEX=
USER root
RUN if [ -n "$TORCH_INDEX" ]; then pip install --no-deps --index-url "$TORCH_INDEX" "torch>=2.9,<3" "torchvision>=0.24,<1"; fi \
 && pip install "$(ls /wheels/*.whl)[worker]"

ENV YOLO_CONFIG_DIR=/tmp/ultralytics MPLCONFIGDIR=/tmp/matplotlib
USER leukoweb
# -B is the clock of the sweep; several workers may each have one, the claim makes duplicates harmless.
# Long analyses wait in the queue `long`, which a second worker takes.
CMD ["celery", "-A", "leukoweb", "worker", "-P", "prefork", "-c", "1", "-Q", "celery,runs", "-B", "-s", "/tmp/beat-schedule", "--loglevel=INFO"]
