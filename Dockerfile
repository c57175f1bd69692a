# Everything that compiles stays in the first two stages. The image itself has the program, the libraries
# it is linked with, and the public authorities: no shell, no package manager, and it does not run as
# root. OpenSSL is linked statically into the program.
#
# The base images are named by tags, which come to mean newer ones. Who must be able to build the same again pins them: ask
# for the digest of each (`docker buildx imagetools inspect rust:1.95-bookworm`) and write it behind the tag, as in
# `FROM rust:1.95-bookworm@sha256:… AS dependencies`. From then on, security fixes of Debian's come with a new digest only.
FROM rust:1.95-bookworm AS dependencies
RUN apt-get update && apt-get install -y --no-install-recommends cmake perl pkg-config g++ make \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
# Dependencies first: they change seldom, so their layer is kept. Each target that Cargo.toml names must be there.
COPY Cargo.toml Cargo.lock build.rs ./
COPY src/journal/kafka/leader_hints.c src/journal/kafka/
RUN mkdir -p src/bin/demo-bank load-tests \
    && echo 'fn main() {}' | tee src/main.rs src/bin/demo-bank/main.rs load-tests/bench-peer.rs >/dev/null \
    && touch src/lib.rs \
    && cargo build --release --locked --bin tollgate \
    && rm -rf src

FROM dependencies AS build
COPY src src
ARG COMMIT=unknown
# Touched, because they may be older than what was compiled in their place.
RUN touch src/lib.rs src/main.rs && TOLLGATE_COMMIT=$COMMIT cargo build --release --locked --bin tollgate

# What the image consists of. Scanners know Debian's packages in it by their records in status.d.
FROM debian:bookworm-slim AS files
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /image
COPY LICENSE usr/share/doc/tollgate/
COPY --from=build /src/target/release/tollgate usr/bin/
RUN set -eu; install -d -m 0700 /state/tollgate; mkdir -p etc/tollgate var/lib/dpkg/status.d; \
    libraries=$(ldd usr/bin/tollgate | grep -o '/[^ ]*'); \
    owners=$(dpkg-query --search $libraries); \
    cp -L --parents $libraries /etc/ssl/certs/ca-certificates.crt /etc/nsswitch.conf /etc/os-release .; \
    for package in ca-certificates $(echo "$owners" | cut -d: -f1 | sort -u); do \
      dpkg-query --status "$package" >"var/lib/dpkg/status.d/$package"; \
      cp -L --parents "/usr/share/doc/$package/copyright" .; \
    done; \
    echo 'tollgate:x:65532:65532:Tollgate:/var/lib/tollgate:/nonexistent' >etc/passwd; \
    echo 'tollgate:x:65532:' >etc/group

FROM scratch
COPY --from=files /image /
COPY --from=files --chown=65532:65532 /state /var/lib/
# By number, so that Kubernetes can tell that it is not root.
USER 65532:65532
VOLUME /var/lib/tollgate
EXPOSE 8080
# The admin port of the configuration; another one is named by TOLLGATE_ADMIN. (`--format docker`, where the
# builder makes OCI images: those have no health check.)
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 CMD ["/usr/bin/tollgate", "ready"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/bin/tollgate"]
CMD ["run", "--config", "/etc/tollgate/tollgate.yaml"]
# Last: each commit changes them.
ARG COMMIT=unknown
ARG VERSION=unknown
LABEL org.opencontainers.image.title="Tollgate" \
      org.opencontainers.image.description="An API gateway that counts use per account, exactly, at the first hop" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$COMMIT"
