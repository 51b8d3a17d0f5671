import { createServer } from "node:http";

/** The service that nginx asks about each login: everybody may in, at the backend port given. Prints its port. */
const backendPort = process.argv[2] ?? "";
const answer = { "Auth-Status": "OK", "Auth-Server": "127.0.0.1", "Auth-Port": backendPort };

const server = createServer((_request, response) => response.writeHead(200, answer).end());
server.listen(0, "127.0.0.1", 4096, () => {
  const address = server.address();
  if (address && typeof address === "object") console.log(`port ${address.port}`);
});
