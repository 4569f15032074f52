# Both programs in one image: the operator, and the token API's emulator that the chart can run beside it.
FROM rust:1.95.0-bookworm AS build
# The image's own toolchain; rust-toolchain.toml would make rustup fetch further components.
ENV RUSTUP_TOOLCHAIN=1.95.0
WORKDIR /src
COPY . .
RUN cargo build --locked --release --package keeptrusts-operator --package keeptrusts-emulator --bins

# The same Debian as above, for its glibc, with the system's certificate authorities.
FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /src/target/release/keeptrusts-operator /src/target/release/keeptrusts-emulator /usr/local/bin/
# A number, so that kubelet can tell that it isn't root.
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/keeptrusts-operator"]
CMD ["run"]
