# syntax=docker/dockerfile:1
# Two stages: what builds is not in the image that runs. Pin the base by digest in your own CI.
FROM python:3.11-slim-bookworm AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/venv
COPY requirements.txt /tmp/requirements.txt
RUN /opt/venv/bin/pip install --require-hashes -r /tmp/requirements.txt \
    # A .pth file runs at every start of Python: only those that are known.
    && test -z "$(find /opt/venv -name '*.pth' ! -name 'distutils-precedence.pth')"
WORKDIR /app
COPY manage.py ./
COPY platform ./platform
COPY accounts ./accounts
COPY billing ./billing
COPY proxy ./proxy
COPY locale ./locale
COPY templates ./templates
COPY static ./static
RUN PYTHONPATH=platform SECRET_KEY=only-to-collect-files DATA_DIR=/tmp/var \
        STATIC_ROOT=/app/collected /opt/venv/bin/python manage.py collectstatic --noinput \
    && /opt/venv/bin/python -m compileall -q -j 0 /app /opt/venv

FROM python:3.11-slim-bookworm
# pg_dump and pg_restore, for `manage.py backup` and `restore`: as new as the server, or they refuse.
# Debian's own are older; its package has the script that adds PostgreSQL's repository.
ARG POSTGRES=18
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates postgresql-common \
    && /usr/share/postgresql-common/pgdg/apt.postgresql.org.sh -y \
    && apt-get install --yes --no-install-recommends "postgresql-client-$POSTGRES" \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --home-dir /data --shell /usr/sbin/nologin tollgate \
    && install --directory --owner=10001 --group=10001 --mode=0700 /data
COPY --from=build /opt/venv /opt/venv
COPY --from=build /app /app
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONPATH=platform \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    DATA_DIR=/data \
    STATIC_ROOT=/app/collected
WORKDIR /app
USER 10001:10001
VOLUME ["/data"]
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/livez', timeout=4)"]
CMD ["uvicorn", "config.asgi:application", "--host=0.0.0.0", "--port=8000", "--loop=uvloop", \
     "--http=config.protocol:HttpProtocol", "--ws=none", "--no-proxy-headers", "--no-server-header", \
     "--no-access-log", "--timeout-keep-alive=75", "--timeout-graceful-shutdown=5"]
