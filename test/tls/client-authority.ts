import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { openWorkshop, P256 } from "./openssl.ts";

export interface ClientCertificate {
  readonly cert: string;
  readonly key: string;
}

export interface ClientCertificateOptions {
  /** As OpenSSL writes subjectAltName, such as `email:alice@example.org`. */
  readonly names?: string;
  /** Ended long ago. */
  readonly expired?: boolean;
  /** RFC 5280 4.2.1.12: what it is for; by default for anything. */
  readonly usage?: "clientAuth" | "serverAuth";
}

/** An authority for clients' certificates that can take them back. */
export interface ClientAuthority extends Disposable {
  readonly ca: string;
  issue(commonName: string, options?: ClientCertificateOptions): ClientCertificate;
  revoke(certificate: ClientCertificate): void;
  /** Everything that it has revoked so far. */
  crl(options?: { outOfDate?: boolean }): string;
}

const CONFIGURATION = `[ca]
default_ca = d
[d]
database = index.txt
new_certs_dir = .
rand_serial = yes
unique_subject = no
default_md = sha256
default_days = 30
copy_extensions = copy
policy = p
[p]
commonName = supplied
[req]
distinguished_name = dn
[dn]
`;

export function openClientAuthority(name = "Authority for clients"): ClientAuthority {
  const shop = openWorkshop();
  const write = (name: string, text: string): void => writeFileSync(join(shop.path, name), text);
  const text = (name: string): string => shop.read(name).toString("latin1");
  write("ca.cnf", CONFIGURATION);
  write("index.txt", "");
  shop.openssl(
    ...["req", "-x509", "-nodes", "-newkey", ...P256, "-keyout", "ca.key", "-out", "ca.pem"],
    ...["-subj", `/CN=${name}`, "-days", "90"],
    ...["-addext", "keyUsage=critical,keyCertSign,cRLSign"],
  );
  const ca = (...words: string[]): void =>
    shop.openssl("ca", "-batch", "-config", "ca.cnf", "-cert", "ca.pem", "-keyfile", "ca.key", ...words);
  let serial = 0;
  return {
    ca: text("ca.pem"),
    issue(commonName, { names, expired = false, usage } = {}) {
      const name = `c${++serial}`;
      shop.openssl(
        ...["req", "-new", "-nodes", "-config", "ca.cnf", "-newkey", ...P256],
        ...["-keyout", `${name}.key`, "-out", `${name}.csr`, "-subj", `/CN=${commonName}`],
        ...(names === undefined ? [] : ["-addext", `subjectAltName=${names}`]),
        ...(usage === undefined ? [] : ["-addext", `extendedKeyUsage=${usage}`]),
      );
      const dates = expired ? ["-startdate", "20200101000000Z", "-enddate", "20200201000000Z"] : [];
      ca("-notext", "-in", `${name}.csr`, "-out", `${name}.pem`, ...dates);
      return { cert: text(`${name}.pem`), key: text(`${name}.key`) };
    },
    revoke({ cert }) {
      write("revoked.pem", cert);
      ca("-revoke", "revoked.pem");
    },
    crl({ outOfDate = false } = {}) {
      const dates = ["-crl_lastupdate", "20200101000000Z", "-crl_nextupdate", "20200102000000Z"];
      ca("-gencrl", "-out", "list.crl", ...(outOfDate ? dates : ["-crldays", "7"]));
      return text("list.crl");
    },
    [Symbol.dispose]: () => shop[Symbol.dispose](),
  };
}
