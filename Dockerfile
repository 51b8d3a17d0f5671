# Postern as an image: docker build --tag postern .
#
# docker run --detach --name postern --read-only --cap-drop ALL --security-opt no-new-privileges --stop-timeout 360 \
#   --volume ./postern:/etc/postern:ro --volume postern-data:/var/lib/postern \
#   --publish 993:10993 --publish 587:10587 --publish 25:10025 postern
#
# /etc/postern holds postern.yaml and what it names; its `dataDir: /var/lib/postern` is the one place written to.
# Whoever runs it is no root and has no capability, so the listeners in postern.yaml bind ports above 1024 (here: the
# well-known ones plus 10000) and --publish gives them their well-known numbers outside. With low ports inside, it needs
# NET_BIND_SERVICE or the sysctl net.ipv4.ip_unprivileged_port_start=0.

FROM node:24-bookworm-slim AS build
WORKDIR /src
COPY package.json package-lock.json ./
# No package's scripts run: none is needed, and whoever takes over a package gets no hand on the build.
RUN npm ci --ignore-scripts --no-audit --no-fund
COPY tsconfig.json tsconfig.build.json ./
COPY src ./src
RUN npm run build
RUN npm prune --omit=dev --ignore-scripts --no-audit --no-fund

FROM node:24-bookworm-slim
ARG VERSION=dev
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Postern" \
      org.opencontainers.image.description="A mail gateway: one guarded door in front of the mail servers you have" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.base.name="docker.io/library/node:24-bookworm-slim"
ENV NODE_ENV=production

WORKDIR /var/lib/postern
# A number, which Kubernetes' runAsNonRoot can judge, and none that a person on the host has.
RUN chown 10001:10001 . && chmod 0700 .
VOLUME /var/lib/postern

WORKDIR /opt/postern
COPY package.json LICENSE ./
COPY --from=build /src/node_modules ./node_modules
COPY --from=build /src/dist ./dist

USER 10001:10001
EXPOSE 10025 10110 10143 10465 10587 10993 10995 14190 8025
# A stop lets busy sessions end, up to `timeouts.drain` (5m): the engine must wait longer, hence --stop-timeout above.
STOPSIGNAL SIGTERM
# The admin port: leave it at 8025, on loopback or on every address.
HEALTHCHECK --interval=15s --timeout=5s --start-period=15s --retries=3 \
  CMD ["node", "/opt/postern/dist/main.js", "health"]
ENTRYPOINT ["node", "/opt/postern/dist/main.js"]
CMD ["run", "--config", "/etc/postern/postern.yaml"]
