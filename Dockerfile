# Two stages: everything that compiles stays in the first. The image runs as nobody and has no
# compiler; OpenSSL is linked statically into the program.
FROM rust:1.95-bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends cmake perl pkg-config g++ make \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
# Dependencies first: they change seldom, so their layer is kept.
COPY Cargo.toml Cargo.lock build.rs ./
COPY src/journal/kafka/leader_hints.c src/journal/kafka/
RUN mkdir -p src/bin/demo-bank load-tests \
    && echo 'fn main() {}' | tee src/main.rs src/bin/demo-bank/main.rs load-tests/bench-peer.rs >/dev/null \
    && touch src/lib.rs \
    && cargo build --release --locked --bin tollgate \
    && rm -rf src load-tests
COPY . .
ARG COMMIT=unknown
RUN touch src/lib.rs src/main.rs && TOLLGATE_COMMIT=$COMMIT cargo build --release --locked --bin tollgate

FROM debian:bookworm-slim
ARG COMMIT=unknown
LABEL org.opencontainers.image.title="Tollgate" \
      org.opencontainers.image.description="An API gateway that counts use per account, exactly, at the first hop" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.revision="$COMMIT"
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --system --gid 65532 tollgate \
    && useradd --system --uid 65532 --gid 65532 --home-dir /var/lib/tollgate --create-home --shell /usr/sbin/nologin tollgate
COPY --from=build /src/target/release/tollgate /usr/bin/tollgate
# By number, so that Kubernetes can tell that it is not root.
USER 65532:65532
VOLUME /var/lib/tollgate
EXPOSE 8080
# The admin port of the configuration; another one is named by TOLLGATE_ADMIN.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 CMD ["/usr/bin/tollgate", "ready"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/bin/tollgate"]
CMD ["run", "--config", "/etc/tollgate/tollgate.yaml"]
