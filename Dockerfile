# One image for web and worker. Build for processors: docker build --build-arg VARIANT=cpu .   For NVIDIA cards: VARIANT=cuda
FROM python:3.11-slim-bookworm

ARG VARIANT=cpu
ARG TORCH_INDEX=
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1

# libgl1, libglib2.0-0: OpenCV. Pango, HarfBuzz, DejaVu: PDF reports. postgresql-client: backup and restore.
RUN apt-get update \
 && apt-get install --yes --no-install-recommends \
      libgl1 libglib2.0-0 libpango-1.0-0 libpangoft2-1.0-0 libharfbuzz-subset0 fonts-dejavu-core postgresql-client-15 \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --uid 10001 --create-home --shell /usr/sbin/nologin leukoweb \
 && install --directory --owner leukoweb --group leukoweb --mode 0700 /data

WORKDIR /srv/leukoweb
COPY pyproject.toml README.md LICENSE ./
# The plain torch wheel brings CUDA and some gigabytes. For processors alone a package index with small wheels can be named:
# docker compose build --build-arg TORCH_INDEX=ADDRESS
RUN case "$VARIANT" in \
      cpu) [ -z "$TORCH_INDEX" ] || pip install --index-url "$TORCH_INDEX" "torch>=2.9,<3" "torchvision>=0.24,<1" ;; \
      cuda) ;; \
      *) echo "VARIANT is cpu or cuda, not $VARIANT" && exit 1 ;; \
    esac \
 && pip install .

COPY manage.py ./
COPY detection detection
COPY leukoweb leukoweb
COPY templates templates
COPY static static

ENV LEUKOWEB_STATIC_DIR=/srv/static
RUN LEUKOWEB_DATA_DIR=/tmp/build python manage.py collectstatic --noinput --verbosity 0 && rm -rf /tmp/build

ENV LEUKOWEB_DATA_DIR=/data YOLO_CONFIG_DIR=/tmp/ultralytics MPLCONFIGDIR=/tmp/matplotlib
USER leukoweb
VOLUME /data
EXPOSE 8000
CMD ["gunicorn", "leukoweb.wsgi", "--worker-class", "gthread", "--workers", "3", "--threads", "8", "--bind", "0.0.0.0:8000", "--no-control-socket"]
