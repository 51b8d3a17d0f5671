import { createServer } from "node:http";

/** The service that nginx asks about each session: everybody may in, at the backend ports given. Prints its port. */
const ports = JSON.parse(process.argv[2] ?? "") as Record<"imap" | "submission" | "smtp", number>;

const server = createServer(({ headers }, response) => {
  const signedIn = headers["auth-method"] !== "none";
  const port = headers["auth-protocol"] === "imap" ? ports.imap : signedIn ? ports.submission : ports.smtp;
  response.writeHead(200, { "Auth-Status": "OK", "Auth-Server": "127.0.0.1", "Auth-Port": port }).end();
});
server.listen(0, "127.0.0.1", 4096, () => {
  const address = server.address();
  if (address && typeof address === "object") console.log(`port ${address.port}`);
});
