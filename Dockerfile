# Both programs in one image: the operator, and the token API's emulator that the chart can run beside it. Nothing else is in it but the
# certificate authorities: the programs are static, and need neither a shell nor a library nor a file to resolve names.
#
#   docker buildx build --platform linux/amd64,linux/arm64 --tag registry.example.com/keeptrusts-operator:0.1.0 --push .
#
# The compiler runs on the machine's own platform, whichever the image is for.
FROM --platform=$BUILDPLATFORM rust:1.95.0-bookworm AS build
ARG BUILDARCH
ARG TARGETARCH
# The image's own toolchain; rust-toolchain.toml would make rustup fetch further components.
ENV RUSTUP_TOOLCHAIN=1.95.0
ENV CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
ENV CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_LINKER=x86_64-linux-gnu-gcc
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
# For another platform: its linker, its C library, and Rust's.
# hadolint ignore=DL3008 # the versions are those of the image's own Debian
RUN if [ "$TARGETARCH" != "$BUILDARCH" ]; then \
        case "$TARGETARCH" in \
            amd64) machine=x86-64 target=x86_64-unknown-linux-gnu ;; \
            arm64) machine=aarch64 target=aarch64-unknown-linux-gnu ;; \
        esac; \
        apt-get update; \
        apt-get install --yes --no-install-recommends "gcc-$machine-linux-gnu" "libc6-dev-$TARGETARCH-cross"; \
        rm -rf /var/lib/apt/lists/*; \
        rustup target add "$target"; \
    fi
WORKDIR /src
COPY . .
RUN case "$TARGETARCH" in \
        amd64) target=x86_64-unknown-linux-gnu ;; \
        arm64) target=aarch64-unknown-linux-gnu ;; \
        *) echo "no build for $TARGETARCH" >&2; exit 1 ;; \
    esac; \
    tools/static-build "$target"; \
    mkdir /image; \
    cp "target/image/$target/release/keeptrusts-operator" "target/image/$target/release/keeptrusts-emulator" /image/

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /image/keeptrusts-operator /image/keeptrusts-emulator /usr/local/bin/
# A number, so that kubelet can tell that it isn't root.
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/keeptrusts-operator"]
CMD ["run"]
