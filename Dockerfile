# The page of `hdf demo` on a CPU:
#   docker build -t hdf-demo . && docker run --rm -p 127.0.0.1:7860:7860 hdf-demo
FROM python:3.12-slim AS wheel
WORKDIR /source
COPY . .
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.12-slim
# PyTorch for CPUs alone: a tenth of the size.
RUN pip install --no-cache-dir torch torchvision --index-url https://download.pytorch.org/whl/cpu
COPY --from=wheel /wheels /wheels
RUN pip install --no-cache-dir "$(echo /wheels/*.whl)[demo,export,face]" && rm -r /wheels \
    && useradd --create-home visitor
USER visitor
WORKDIR /home/visitor
EXPOSE 7860
CMD ["hdf", "demo", "--host", "0.0.0.0"]
